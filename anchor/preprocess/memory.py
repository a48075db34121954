"""Memory of a worker: how much it took, and giving back what decoders free and the allocator would keep."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

__all__ = ["keep_one_arena", "peak_bytes", "release_memory"]

M_ARENA_MAX = -8  # of glibc's mallopt


def keep_one_arena() -> None:
    """All threads allocate from one heap: what one decoder thread frees the next can use. Only glibc knows it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Hand freed memory back. Only glibc knows it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux it may be the parent's, from before the exec
    return peak if sys.platform == "darwin" else peak * 1024
