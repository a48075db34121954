"""The random numbers of a card: dropout and noise there come from a generator of its own.

Lightning and PyTorch's own helpers keep the states of the CPU and of CUDA only. What makes a resume exact gathers these
too, one from each rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["get_rng_state", "set_rng_state"]


def get_rng_state(device: torch.device) -> Tensor | None:
    """The state of the generator of ``device`` as uint8 on the CPU; None if it is no MLU."""
    if device.type != "mlu":
        return None
    state: Tensor = torch.mlu.get_rng_state(device)  # type: ignore[attr-defined]
    return state.cpu()


def set_rng_state(state: Tensor | None, device: torch.device) -> None:
    """Go on with ``state`` on ``device``; nothing happens where either knows no MLU."""
    if state is not None and device.type == "mlu":
        torch.mlu.set_rng_state(state.cpu(), device)  # type: ignore[attr-defined]
