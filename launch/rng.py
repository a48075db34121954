"""The random state of one rank: Python's, NumPy's, PyTorch's and its card's, as plain tensors and numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["get_random_state", "set_random_state"]


def get_random_state(device: torch.device) -> dict[str, Any]:
    """What the next draws of this process depend on; it loads with ``weights_only=True``."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    card = _card(device)
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "card": card.get_rng_state(device).cpu() if card is not None else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on drawing where ``state`` was taken; a card's state is left out where this device is none."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    card = _card(device)
    if card is not None and state["card"] is not None:
        card.set_rng_state(state["card"], device)


def _card(device: torch.device) -> Any:
    """The module of PyTorch's that knows the card: ``torch.cuda``, ``torch.mlu``; None for the CPU."""
    return None if device.type == "cpu" else getattr(torch, device.type, None)
