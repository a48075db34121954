"""Where the time goes: seconds by part of the work, each second counted once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["Stopwatch"]

Item = TypeVar("Item")


class Stopwatch:
    """Parts may lie inside each other: the inner one stops the outer one. One thread only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block as ``name``. The block must not yield: time outside would count too."""
        self._book()
        self._running.append(name)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def iterate(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """``items``, with the time that each takes to come counted as ``name``."""
        iterator = iter(items)
        while True:
            try:
                with self.part(name):
                    item = next(iterator)
            except StopIteration:
                return
            yield item

    @property
    def total(self) -> float:
        """Seconds in all parts."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())

    def _book(self) -> None:
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
