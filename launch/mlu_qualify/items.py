"""All items, in the order in which they run."""

from __future__ import annotations

from launch.mlu_qualify import card, lightning_fit, networks, ranks  # noqa: F401  # each puts its items on the list
from launch.mlu_qualify.outcome import ITEMS, Item

__all__ = ["list_items"]


def list_items() -> list[Item]:
    """Every item."""
    return list(ITEMS)
