"""Keep freed pictures out of the process: glibc holds on to what lies between what is still in use."""

from __future__ import annotations

import ctypes

__all__ = ["return_large_blocks"]

M_MMAP_THRESHOLD = -3  # the name of the option in glibc's malloc.h
LARGE_BYTES = 4 * 2**20  # a picture of 1080p has 6 MB; smaller blocks are cheaper from the heap


def return_large_blocks() -> None:
    """From here on the system gets back each block of 4 MiB and more as soon as it is freed; nothing without glibc.

    By itself glibc raises that limit to the largest block it has seen freed, at most 32 MiB, and pictures of 4K then
    leave holes in its heaps that add up over a video.
    """
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
