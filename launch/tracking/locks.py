"""Who writes in a folder, and who sends from it: advisory locks that end with their process."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["hold", "is_held"]

PAUSE_S = 0.1


@contextlib.contextmanager
def hold(path: Path, patience_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock at ``path``; yields False where another process still does after ``patience_s``."""
    deadline = time.monotonic() + patience_s
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(PAUSE_S)
                continue
            yield True
            return


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at ``path``."""
    if not path.exists():
        return False
    with hold(path) as is_ours:
        return not is_ours
