"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from anchor.errors import ShardError
from anchor.shards.progress import megabytes

__all__ = ["new_set"]


@contextlib.contextmanager
def new_set(out: Path, needed: int) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` when the block ends well and is deleted when it does not.

    ``needed`` bytes must be free before anything is written.

    Raises:
        ShardError: ``out`` exists, or the disk is too small or cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise ShardError(f"out={out} exists already. Give a new folder; nothing is written over.")
    partial = out.absolute().with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.absolute().parent).free
        if free < needed:
            raise ShardError(
                f"out={out} needs {megabytes(needed)}, the disk has {megabytes(free)} left. Make room, or give another."
            )
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        partial.rename(out)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full or a file has reached its limit" if is_full else error.strerror or str(error)
        raise ShardError(f"out={out} could not be written: {what}. Nothing is left of it.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
