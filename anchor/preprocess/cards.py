"""Which card a worker uses: several workers take the cards of their machine in turn."""

from __future__ import annotations

from anchor.device import resolve_device

__all__ = ["own_card", "take_number"]

_number = 0


def take_number(number: int) -> None:
    """Make this process the worker ``number`` of its machine."""
    global _number
    _number = number


def own_card(device: str) -> str:
    """``device`` with the number of this worker's card, as "mlu:1"; "cpu", and a card that has a number, as they are.

    "auto" is the kind of card that the machine has, else "cpu".

    Raises:
        DeviceError: there is no such card.
    """
    if device == "cpu" or ":" in device:
        return device
    import torch

    kind = resolve_device(device).type
    return kind if kind == "cpu" else f"{kind}:{_number % max(1, getattr(torch, kind).device_count())}"
