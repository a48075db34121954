"""How large a network is: parameters, arithmetic and bytes, part by part.

A FLOP is one multiplication or one addition, so a multiply-add counts 2. Counted are convolutions and matrix products
(``torch.utils.flop_counter``); norms, activations and resampling are not. The unit is one forward pass for one item: a
frame for a generator, a window of frames with its speech for an expert, a picture for a discriminator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anchor.models.describe import describe
from anchor.models.generator import stack_faces
from anchor.timing import NUM_MELS, WINDOW_FRAMES, mel_steps

__all__ = ["PartSize", "example_inputs", "model_sizes", "show_size"]

UNITS = {"generator": "frame", "expert": "window", "discriminator": "picture"}


@dataclass(frozen=True)
class PartSize:
    """The size of a network or of one of its parts."""

    name: str  # "" for the network itself
    parameters: int
    flop: int  # per item
    disk_bytes: int  # weights and statistics as they are stored

    @property
    def gflop(self) -> float:
        """Billions of operations per item."""
        return self.flop / 1e9


def example_inputs(
    net: nn.Module, batch_size: int = 1, image_size: int | None = None, seed: int = 0
) -> tuple[Tensor, ...]:
    """Random inputs as ``net``'s kind takes them, in their ranges.

    ``image_size`` is the side of the faces in pixels, for networks that have none of their own.
    """
    kind = describe(net)["kind"]
    size = int(getattr(net, "image_size", image_size or 96))
    dice = torch.Generator().manual_seed(seed)
    frames = int(getattr(net, "window_frames", WINDOW_FRAMES))
    mel = torch.rand(batch_size, 1, NUM_MELS, mel_steps(frames), generator=dice) * 8 - 4
    if kind == "generator":
        count = 1 + getattr(net, "num_references", 1)
        faces, *references = torch.rand(count, batch_size, 3, size, size, generator=dice) * 2 - 1
        return stack_faces(faces, torch.cat(references, 1)), mel
    if kind == "expert":
        return torch.rand(batch_size, frames, 3, size // 2, size, generator=dice) * 2 - 1, mel
    return (torch.rand(batch_size, 3, size // 2, size, generator=dice) * 2 - 1,)


def model_sizes(net: nn.Module, image_size: int | None = None) -> list[PartSize]:
    """The network first, then each of its submodules. ``net`` comes back in the mode it was in."""
    modes = [(module, module.training) for module in net.modules()]
    device = next(net.parameters()).device
    inputs = [tensor.to(device) for tensor in example_inputs(net, image_size=image_size)]
    counter = FlopCounterMode(display=False)
    net.eval()
    try:
        with torch.no_grad(), counter:
            net(*inputs)
    finally:
        for module, mode in modes:
            module.training = mode
    counts = counter.get_flop_counts()
    top = type(net).__name__
    parts = {"": net, **dict(net.named_children())}
    return [
        PartSize(
            name,
            sum(parameter.numel() for parameter in part.parameters()),
            sum(counts.get(f"{top}.{name}" if name else "Global", {}).values()),
            sum(value.numel() * value.element_size() for value in part.state_dict().values()),
        )
        for name, part in parts.items()
    ]


def show_size(net: nn.Module, image_size: int | None = None) -> str:
    """One line: ``LipGenerator 0.71 M parameters, 0.125 GFLOP a frame (identity_encoder 0.25 M, ...)``."""
    whole, *parts = model_sizes(net, image_size)
    inner = ", ".join(f"{part.name} {part.parameters / 1e6:.2f} M" for part in parts)
    unit = UNITS[describe(net)["kind"]]
    told = f" ({inner})" if len(parts) > 1 else ""
    return f"{type(net).__name__} {whole.parameters / 1e6:.2f} M parameters, {whole.gflop:.3g} GFLOP a {unit}{told}"
