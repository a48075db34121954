"""Progress of something long: a line that renews itself on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["show_progress"]

Item = TypeVar("Item")
PLAIN_EVERY_S, TERMINAL_EVERY_S = 10.0, 0.2


def show_progress(items: Iterable[Item], total: int, what: str, unit: str = "frames") -> Iterator[Item]:
    """``items``, while standard error says how many of ``total`` are done, how fast, and how long it still takes."""
    terminal = sys.stderr.isatty()
    every_s = TERMINAL_EVERY_S if terminal else PLAIN_EVERY_S
    started = shown = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= every_s:
            shown, rate = now, done / max(1e-9, now - started)
            _print(f"  {what}: {done}/{total} {unit}, {rate:.1f}/s, {max(0, total - done) / rate:.0f} s left", terminal)
    seconds = time.monotonic() - started
    _print(f"  {what}: {done} {unit} in {seconds:.1f} s, {done / max(1e-9, seconds):.1f}/s", terminal, last=True)


def _print(text: str, terminal: bool, last: bool = False) -> None:
    if terminal:
        print("\r\x1b[K" + text, end="\n" if last else "", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
