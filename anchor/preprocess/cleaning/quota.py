"""How much silence is kept: a generator must learn closed mouths, but not from most of its pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["draw_silent"]


def draw_silent(candidates: Sequence[tuple[str, int]], kept_frames: int, quota: float, seed: int) -> set[str]:
    """The keys of the silent segments to keep, of ``(key, frames)``, where ``kept_frames`` of others are kept.

    They make up at most ``quota`` of all that is kept then. The order in which they are drawn is that of a hash of
    seed and key, so neither workers nor the order of the clips matter.
    """
    room = quota / (1 - quota) * kept_frames
    chosen: set[str] = set()
    for key, frames in sorted(candidates, key=lambda one: hashlib.sha256(f"{seed}:{one[0]}".encode()).hexdigest()):
        if frames <= room:
            chosen.add(key)
            room -= frames
    return chosen
