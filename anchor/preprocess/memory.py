"""Give memory back to the system: decoders free gigabytes that the allocator would keep."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["keep_one_arena", "release_memory"]

M_ARENA_MAX = -8  # of glibc's mallopt


def keep_one_arena() -> None:
    """All threads allocate from one heap: what one decoder thread frees the next can use. Only glibc knows it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Hand freed memory back. Only glibc knows it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
