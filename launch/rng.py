"""The random state of one rank: Python's, NumPy's, PyTorch's and its card's, as plain tensors and numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from launch.mlu.rng import get_rng_state, set_rng_state

__all__ = ["get_random_state", "set_random_state"]


def get_random_state(device: torch.device) -> dict[str, Any]:
    """What the next draws of this process depend on; it loads with ``weights_only=True``."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "card": _card_state(device),
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on drawing where ``state`` was taken; a card's state is left out where this device is none."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["card"] is not None:
        torch.cuda.set_rng_state(state["card"], device)
    set_rng_state(state["card"], device)  # of an MLU


def _card_state(device: torch.device) -> torch.Tensor | None:
    """The state of a CUDA card's generator or of an MLU's; None for the CPU."""
    return torch.cuda.get_rng_state(device).cpu() if device.type == "cuda" else get_rng_state(device)
