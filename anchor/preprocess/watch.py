"""A worker that stands still ends itself, and one whose parent is gone does too."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import threading
import time
from typing import TextIO

__all__ = ["HANG_S", "beat", "rest", "watch_this_process"]

HANG_S = 180.0  # s without a frame: a working decoder, even of 4K on a busy core, needs less than one

_is_watched = False
_last_beat = 0.0
_sink: TextIO | None = None


def watch_this_process() -> None:
    """From now on this process ends when ``beat`` is not called for ``HANG_S``, or when its parent has died."""
    global _is_watched, _sink
    _is_watched = True
    _sink = open(os.devnull, "w")  # noqa: SIM115  # faulthandler keeps it
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def beat() -> None:
    """There was progress. Nearly free, and nothing at all in a process that is not watched."""
    global _last_beat
    now = time.monotonic()
    if _is_watched and _sink is not None and now - _last_beat > 1.0:
        _last_beat = now
        # A decoder that hangs may hold Python's lock; this timer is a thread that needs none.
        faulthandler.dump_traceback_later(HANG_S, exit=True, file=_sink)


def rest() -> None:
    """A clip is done: waiting for the next one is no standstill."""
    global _last_beat
    if _is_watched:
        faulthandler.cancel_dump_traceback_later()
        _last_beat = 0.0


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
