"""What the system has not enough of, said in one sentence: open files, room on the disk, the run's folder itself."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from pathlib import Path

__all__ = ["allow_files", "explain_files", "explain_folder"]

MOST_FILES = 65_536
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


def allow_files() -> None:
    """Let this process, and its loaders, open as many files as the system allows, up to ``MOST_FILES``.

    Each batch of a loader holds descriptors until it is learnt from, and 1024, the usual limit, are soon taken.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def explain_files(error: BaseException) -> str | None:
    """The sentence for too many open files, of the system or of PyTorch's loader; None for any other error."""
    is_system = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    if not is_system and "too many open files" not in str(error).lower():
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"a process may open {limit} files here, and that is too few. Raise it (ulimit -n 65536), or set "
        "datamodule.num_workers=0; the same command goes on."
    )


def explain_folder(error: OSError, run_dir: Path) -> str | None:
    """The sentence for a run's folder that cannot be written any more, or is gone; None for any other error."""
    if error.errno in UNWRITABLE:
        return (
            f"{error.filename or run_dir} could not be written ({error.strerror}). Checkpoints written before stay; "
            "free some space or mend the folder, and the same command goes on."
        )
    name = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else run_dir
    is_gone = name.is_relative_to(run_dir) and not name.parent.is_dir()
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and is_gone:
        return (
            f"{name.parent} was removed or moved while the run wrote to it. Put it back, and the same command goes on "
            "from the newest checkpoint there; where there is none, it begins anew."
        )
    return None
