"""The networks of the stages with inputs for one step, for whoever wants to run them on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["stage_networks"]


def stage_networks(model: str) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Expert, generator and discriminator of a preset by name, each with a batch of four."""
    from anchor.models.sizes import example_inputs
    from launch.sizes import build_preset

    torch.manual_seed(0)
    built = build_preset(model)
    kinds = ("expert", "generator", "discriminator")
    return {kind: (built[kind], example_inputs(built[kind], 4, built["image_size"])) for kind in kinds}
