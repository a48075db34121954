"""A network that has learnt to see, for the perceptual loss: the user brings its file, nothing is downloaded.

Shape suffixes: N pictures, C colour, h W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.models.freezing import freeze
from anchor.models.tensors import load_tensors

__all__ = ["PerceptualNet", "load_perceptual"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1], as torchvision trains with


class PerceptualNet(nn.Module):
    """Convolutions laid out as torchvision's VGG; activations are read before each pooling (Johnson et al. 2016).

    Args:
        layers: convolutions, norms, ReLUs and poolings.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean_C11", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std_C11", torch.tensor(STD)[:, None, None])

    def forward(self, pictures_NChW: Tensor) -> list[Tensor]:
        """Activations of pictures in [-1, 1], the finest first."""
        x = ((pictures_NChW + 1) / 2 - self.mean_C11) / self.std_C11
        seen = []
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                seen.append(x)
                if min(x.shape[-2:]) < 2:
                    return seen
            x = layer(x)
        return [*seen, x]


def load_perceptual(path: str | Path) -> PerceptualNet:
    """The frozen network of a state dict with torchvision's names (``features.0.weight`` and so on).

    VGG11 to VGG19, with batch norm or without: the gaps in the numbers say where ReLUs and poolings stand. The file is
    read without unpickling code.

    Raises:
        CheckpointError: no such file, or no such layout.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"module.perceptual={path}: there is no such file. Give a path, or null.")
    try:
        state = load_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"module.perceptual={path} holds no plain weights ({error}) "
            "Save a state dict: torch.save(vgg.state_dict(), PATH)."
        ) from None
    layers = _layers(_features(state, path), path)
    return freeze(PerceptualNet(layers))


def _features(state: Any, path: str | Path) -> dict[int, dict[str, Tensor]]:
    """Parameters by the number of their layer."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items() if isinstance(state, Mapping) else ():
        if (match := re.fullmatch(r"(?:features\.)?(\d+)\.(\w+)", str(name))) and isinstance(value, Tensor):
            found.setdefault(int(match[1]), {})[match[2]] = value
    if not found or found.get(0, {}).get("weight", torch.zeros(0)).shape[1:2] != (3,):
        names = ", ".join(map(str, list(state)[:3])) if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(
            f"module.perceptual={path}: a state dict laid out as torchvision's VGG begins with features.0.weight for "
            f"three colours, and this one has {names or 'nothing'}. Give such a file, or null."
        )
    return found


def _layers(features: dict[int, dict[str, Tensor]], path: str | Path) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(max(features) + 2):
        part = features.get(number)
        if part is None:
            layers.append(nn.MaxPool2d(2) if isinstance(layers[-1], nn.ReLU) else nn.ReLU())
            continue
        weight = part["weight"]
        layer: nn.Module
        if weight.dim() == 4:
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], 1, weight.shape[2] // 2)
        else:
            layer = nn.BatchNorm2d(len(weight))
        try:
            layer.load_state_dict(part)
        except RuntimeError as error:
            raise CheckpointError(
                f"module.perceptual={path}: layer features.{number} is none of a VGG ({error}). Give one, or null."
            ) from error
        layers.append(layer)
    return nn.Sequential(*layers)
