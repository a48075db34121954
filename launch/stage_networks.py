"""The networks of the stages with inputs for one step, for whoever wants to run them on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["stage_networks"]

MEL_SHAPE = (1, 80, 16)


def stage_networks(model: str) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Expert, generator and discriminator of a preset by name, each with a batch of four."""
    from launch.sizes import build_preset

    torch.manual_seed(0)
    built = build_preset(model)
    side = built["image_size"]
    half = side // 2
    return {
        "expert": (built["expert"], (torch.rand(4, 5, 3, half, side), torch.rand(4, *MEL_SHAPE))),
        "generator": (built["generator"], (torch.rand(4, 6, side, side), torch.rand(4, *MEL_SHAPE))),
        "discriminator": (built["discriminator"], (torch.rand(4, 3, half, side),)),
    }
