"""Random number states of the cards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from torch_mlu import _MLUC
from torch_mlu.mlu.cards import device_count, get_device_index

default_generators = tuple(_MLUC.default_generator(index) for index in range(_MLUC.device_count()))


def _generator(device: Any) -> torch.Generator:
    return _MLUC.default_generator(get_device_index(device))


def get_rng_state(device: Any = "mlu") -> torch.Tensor:
    """The state of a card's generator, bytes on the CPU."""
    return _generator(device).get_state()


def get_rng_state_all() -> list[torch.Tensor]:
    """The state of every card."""
    return [get_rng_state(index) for index in range(device_count())]


def set_rng_state(new_state: torch.Tensor, device: Any = "mlu") -> None:
    """Go on from ``new_state`` on a card."""
    _generator(device).set_state(new_state.cpu())


def set_rng_state_all(new_states: Iterable[torch.Tensor]) -> None:
    """Go on from a state on every card."""
    for index, state in enumerate(new_states):
        set_rng_state(state, index)


def manual_seed(seed: int) -> None:
    """Seed the current card."""
    _generator(None).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed every card, all alike."""
    for index in range(device_count()):
        _generator(index).manual_seed(int(seed))


def seed() -> None:
    """Seed the current card with a number that nobody chose."""
    _generator(None).seed()


def seed_all() -> None:
    """Seed every card with one number that nobody chose."""
    if device_count():
        manual_seed_all(_generator(0).seed())


def initial_seed() -> int:
    """The seed of the current card."""
    return _generator(None).initial_seed()
