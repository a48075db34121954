"""Locks between processes that die with their holder, cannot block for ever, and do no harm where there are none."""

from __future__ import annotations

import contextlib
import enum
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["LockState", "hold", "is_at", "open_to_lock", "try_lock", "unlock"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5  # between two looks at a lock that another process holds


class LockState(enum.Enum):
    """What became of a try to lock a file."""

    HELD = "held"
    BUSY = "busy"
    UNKNOWN = "unknown"  # this file system has no locks


def try_lock(file: int) -> LockState:
    """Lock an open file (``flock``) if nobody holds it. The kernel gives it back when the process ends."""
    if fcntl is None:
        return LockState.UNKNOWN
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return LockState.BUSY
    except OSError:
        return LockState.UNKNOWN
    return LockState.HELD


def unlock(file: int) -> None:
    """Give the lock back, also for forked processes that inherited the open file."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def hold(path: Path, wait_s: float) -> Iterator[bool]:
    """Hold the lock file ``path`` and remove it afterwards; whether it is really held.

    Goes on without the lock where the file system has none, and when its holder does not come to an end in
    ``wait_s``: what a lock saves here is double work, never correctness.
    """
    deadline, pause = time.monotonic() + wait_s, FIRST_PAUSE_S
    while True:
        file = open_to_lock(path, os.O_CREAT)
        try:
            state = try_lock(file)
            # Held and not there: its last holder has removed it since we opened it.
            is_in_vain = state is LockState.BUSY or (state is LockState.HELD and not is_at(path, file))
            if is_in_vain and time.monotonic() < deadline:
                time.sleep(random.SystemRandom().uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            try:
                yield state is LockState.HELD
            finally:
                if state is LockState.HELD:
                    if is_at(path, file):
                        with contextlib.suppress(OSError):
                            path.unlink()
                    unlock(file)
            return
        finally:
            os.close(file)


def open_to_lock(path: Path, flags: int = 0) -> int:
    """Open a file for ``try_lock``; one of another user for reading only, which is enough on a local disk."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
    except PermissionError as error:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise error from None


def is_at(path: Path, file: int) -> bool:
    """Whether ``path`` still names the open ``file``."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
