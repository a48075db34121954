"""Files that are whole or not there, and locks that die with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError

__all__ = ["hold", "is_held", "read_json", "write_json"]

PATIENCE_S = 1.0  # whoever asks `is_held` holds the lock for a moment


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` so that ``path`` is the old file or the new one, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; None where there is no such file, or something else in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock ``path`` for the block. The system lets it go when the process ends, however it ends.

    A file system that knows no locks is trusted: nothing is held there. Folders that are made for the lock go again
    if the block leaves nothing in them.

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
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        try:
            yield
        finally:
            if new and [entry.name for entry in path.parent.iterdir()] == [path.name]:  # nothing came of it
                path.unlink()
                for folder in new:
                    with contextlib.suppress(OSError):
                        folder.rmdir()


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
