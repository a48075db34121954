"""What the four stages share: how a network arrives, how a mouth is drawn and judged.

Shape suffixes: B windows, T frames, C colour, H W pixels, h = H // 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import affine_loss, steady_loss, sync_loss
from anchor.models import LipGenerator, SyncNet, build_network, freeze, stack_faces
from anchor.ops.images import lower_half, to_signed
from anchor.ops.mel import mel_config_hash

__all__ = [
    "OptimizerFactory",
    "Ramp",
    "as_network",
    "check_lr",
    "compare_shapes",
    "draw_and_compare",
    "draw_and_hold",
    "draw_mouths",
    "judge_sync",
    "remember",
    "set_aside",
    "set_up_expert",
]

OptimizerFactory = Callable[..., Optimizer]
Network = nn.Module | Mapping[str, Any]  # built, or described as checkpoints describe it

HELD_SHARE = 4  # one window in four is drawn once more with its speech held

adamw: OptimizerFactory = partial(torch.optim.AdamW, weight_decay=0.01)


def as_network(net: Network) -> nn.Module:
    """``net``, built if it came as a description, laid out channels last."""
    built = net if isinstance(net, nn.Module) else build_network(net)
    return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check_lr(lr: float) -> float:
    """``lr`` if it is a number above 0.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not lr > 0:
        raise ConfigError(f"a learning rate must be a number above 0, and {lr!r} arrived. Set module.lr=1e-3, say.")
    return lr


def remember(module: L.LightningModule, about: dict[str, Any]) -> None:
    """Put a plain description into every checkpoint of ``module``, and which mel configuration it hears."""
    module.save_hyperparameters({**about, "mel_config_hash": mel_config_hash()})


def set_up_expert(module: L.LightningModule, expert: nn.Module | None) -> None:
    """Give ``module`` a frozen judge that its checkpoints do not carry: it has a checkpoint of its own."""
    set_aside(module, "expert", expert)


def set_aside(module: L.LightningModule, name: str, network: nn.Module | None) -> None:
    """Put a network that does not learn, frozen, beside those of ``module``, as its attribute ``name``.

    It is not registered: no parameters, no state in checkpoints, nothing for DDP to sync, and no trainer moves it.
    """
    object.__setattr__(module, name, freeze(network) if network is not None else None)


def draw_mouths(net: LipGenerator, batch: LipBatch) -> tuple[Tensor, Tensor]:
    """Generated and real lower halves, both (B, T, C, h, W) in [-1, 1]."""
    faces_BTCHW = to_signed(batch["faces_BTCHW"])
    output_N3hW = net(show_faces(faces_BTCHW, batch), batch["mels_BT1MS"].flatten(0, 1))
    return output_N3hW.unflatten(0, faces_BTCHW.shape[:2]), lower_half(faces_BTCHW)


def draw_and_compare(
    net: LipGenerator, base: LipGenerator | None, batch: LipBatch
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What :func:`draw_mouths` gives and, of a ``base``, how differently its features change in time, 0-d."""
    if base is None:
        return *draw_mouths(net, batch), None
    faces_BTCHW = to_signed(batch["faces_BTCHW"])
    stack_N6HW, shape = show_faces(faces_BTCHW, batch), faces_BTCHW.shape[:2]
    output_N3hW, own = net(stack_N6HW, batch["mels_BT1MS"].flatten(0, 1), with_features=True)
    base.to(output_N3hW.device)
    with torch.no_grad():
        before = base.features(stack_N6HW)
    own, before = ([map_NCHW.unflatten(0, shape) for map_NCHW in maps] for maps in (own, before))
    return output_N3hW.unflatten(0, shape), lower_half(faces_BTCHW), steady_loss(own, before, batch["weight_B"])


def draw_and_hold(net: LipGenerator, batch: LipBatch, hold: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """What :func:`draw_mouths` gives and, with ``hold``, the first quarter of the windows with their speech held.

    These hear throughout the middle of another window's speech, as a dubbed face hears another's; (b, T, C, h, W).
    They are drawn in the same call, so that norms see them beside the others.
    """
    if not hold:
        return *draw_mouths(net, batch), None
    faces_BTCHW, mels_BT1MS = to_signed(batch["faces_BTCHW"]), batch["mels_BT1MS"]
    B, T = faces_BTCHW.shape[:2]
    count = -(-B // HELD_SHARE)
    held_bT1MS = mels_BT1MS.roll(1, 0)[:count, T // 2, None].expand(-1, T, -1, -1, -1)
    stack_N6HW = show_faces(faces_BTCHW, batch)
    drawn_N3hW = net(
        torch.cat([stack_N6HW, stack_N6HW[: count * T]]), torch.cat([mels_BT1MS, held_bT1MS]).flatten(0, 1)
    )
    output, held = drawn_N3hW.unflatten(0, (B + count, T)).split([B, count])
    return output, lower_half(faces_BTCHW), held


def show_faces(faces_BTCHW: Tensor, batch: LipBatch) -> Tensor:
    """The stacks (N, 3 + 3 R, H, W) of a batch's faces in [-1, 1] and its references."""
    references_BTCHW = to_signed(batch["references_BCHW"])[:, None].expand(-1, faces_BTCHW.shape[1], -1, -1, -1)
    return stack_faces(faces_BTCHW.flatten(0, 1), references_BTCHW.flatten(0, 1))


def judge_sync(expert: SyncNet, output_BTChW: Tensor, batch: LipBatch) -> Tensor:
    """How badly the frozen expert thinks generated mouths fit their speech, read as it was taught; a 0-d mean."""
    expert.to(output_BTChW.device)  # it is no part of the module, so no trainer moves it
    with torch.no_grad():
        speech_BD = expert.embed_speech(batch["mel_B1MS"])
    face_BD = expert.embed_mouths(output_BTChW)
    if expert.bias is not None:
        in_sync_B = torch.ones(len(face_BD), device=face_BD.device)
        return affine_loss(face_BD, speech_BD, in_sync_B, expert.log_scale.exp(), expert.bias, batch["weight_B"])
    return sync_loss(face_BD, speech_BD, "bce" if expert.positive else "cosine", batch["weight_B"])


def compare_shapes(expert: SyncNet, output_BTChW: Tensor, real_BTChW: Tensor, batch: LipBatch) -> Tensor:
    """How differently the frozen expert reads the mouths of output and real windows, whatever is heard; a 0-d mean."""
    expert.to(output_BTChW.device)
    with torch.no_grad():
        real_BD = expert.embed_mouths(real_BTChW)
    return sync_loss(expert.embed_mouths(output_BTChW), real_BD, "cosine", batch["weight_B"])


class Ramp(nn.Module):
    """A weight that is 0 for ``start`` steps, then climbs to ``top`` in ``length``; checkpoints keep its place."""

    step: Tensor

    def __init__(self, top: float, start: int, length: int) -> None:
        super().__init__()
        self.top, self.start, self.length = top, start, length
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def value(self) -> float:
        """The weight at the present step."""
        return self.top * min(1.0, max(0.0, (int(self.step) - self.start + 1) / max(1, self.length)))

    def advance(self) -> None:
        """One step further."""
        self.step += 1
