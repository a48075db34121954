"""How far a tool has come, on the terminal's error output: bytes, rate and the time left."""

from __future__ import annotations

import sys
import threading
import time

__all__ = ["Progress", "counted", "megabytes"]

FIRST_S, EVERY_S = 5.0, 5.0  # seconds until the first line, and between lines


class Progress:
    """Say every few seconds how much is done; what is done sooner says nothing. Threads may share it."""

    def __init__(self, doing: str, total: int) -> None:
        self.doing, self.total, self.done = doing, total, 0
        self._begin = time.monotonic()
        self._next, self._lock = self._begin + FIRST_S, threading.Lock()

    def add(self, num_bytes: int) -> None:
        """``num_bytes`` more are done."""
        with self._lock:
            self.done += num_bytes
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + EVERY_S
        rate = self.done / (now - self._begin)
        left = (self.total - self.done) / rate if rate else 0.0
        share = 100 * self.done // max(1, self.total)
        print(
            f"{self.doing}: {share} %, {megabytes(self.done)} of {megabytes(self.total)}, {megabytes(rate)}/s, "
            f"{_duration(left)} left", file=sys.stderr, flush=True,
        )  # fmt: skip


def megabytes(num_bytes: float) -> str:
    """A number of bytes in the unit that fits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def counted(number: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
