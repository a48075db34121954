"""What only a simulated card can tell: which operators and collectives were called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch_mlu import _MLUC

__all__ = ["collective_counts", "count_operators", "operator_counts", "reset_collective_counts"]


@contextmanager
def count_operators() -> Iterator[dict[str, int]]:
    """A dictionary that holds, when the block has ended, each operator that ran on a card and how often."""
    counts: dict[str, int] = {}
    _MLUC.count_operators(True)
    try:
        yield counts
    finally:
        counts.update(operator_counts())
        _MLUC.count_operators(False)


def operator_counts() -> dict[str, int]:
    """Operators counted since counting began, by name."""
    return dict(sorted(_MLUC.operator_counts().items()))


def collective_counts() -> dict[str, int]:
    """Collectives that this process's ``cncl`` groups ran, by kind: allreduce, allgather_base, broadcast, ..."""
    return dict(sorted(_MLUC.collective_counts().items()))


def reset_collective_counts() -> None:
    """Begin to count collectives anew."""
    _MLUC.count_collectives()
