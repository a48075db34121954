"""Locks that die with the process that holds them: who writes in a folder, who runs a job, who sends a run.

A file system that knows no locks is trusted: nothing is ever held there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from anchor.errors import ConfigError

__all__ = ["claim", "hold", "is_held"]

PATIENCE_S = 1.0  # whoever asks `is_held` holds the lock for a moment
PAUSE_S = 0.05


@contextlib.contextmanager
def claim(path: Path, what: str) -> Iterator[int]:
    """Hold the lock ``path`` for the block, which gets its descriptor: a child that inherits it holds it too.

    The system lets it go when the process ends, however it ends.

    Folders that are made for the lock go again if the block leaves nothing in them.

    Raises:
        ConfigError: another process holds it; begins with ``what`` and names that process.
    """
    new = [folder for folder in path.absolute().parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("a+", encoding="utf-8"))
            if _take(file.fileno()) and path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break  # and the file is still the one of that name
            if time.monotonic() > deadline:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise ConfigError(f"{what} ({who}). Wait for it, or give another folder.")
            file.close()
            time.sleep(PAUSE_S)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        try:
            yield file.fileno()
        finally:
            if new and [entry.name for entry in path.parent.iterdir()] == [path.name]:  # nothing came of it
                path.unlink()
                for folder in new:
                    with contextlib.suppress(OSError):
                        folder.rmdir()


@contextlib.contextmanager
def hold(path: Path, patience_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock ``path``; yields False where another process still does after ``patience_s``."""
    deadline = time.monotonic() + patience_s
    with path.open("a", encoding="utf-8") as file:
        while not (is_ours := _take(file.fileno())) and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        yield is_ours


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock ``path``."""
    try:
        with path.open("r", encoding="utf-8") as file:
            return not _take(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def _take(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
    return True
