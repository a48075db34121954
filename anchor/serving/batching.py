"""Which pictures are drawn together: those that are needed first, in batches of a few fixed sizes.

A card likes shapes that it has seen: batches are 1, 2, 4, 8 or 16 pictures, and one that is nearly full is filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["BUCKETS", "Request", "bucket_of", "next_batch"]

BUCKETS = (1, 2, 4, 8, 16)
FILL = 0.75  # from this share on a batch is filled up to its bucket, below it is drawn in two


@dataclass(frozen=True)
class Request:
    """A mouth to be drawn for one tick of one session."""

    session: int
    avatar: str
    epoch: int
    tick: int
    frame: int  # of the avatar, whose face is drawn over
    mel_MS: np.ndarray  # float32 (80, 16)
    deadline: float  # s, as time.monotonic counts; later nobody wants it


def bucket_of(count: int, buckets: tuple[int, ...] = BUCKETS) -> tuple[int, int]:
    """``(taken, size)``: how many of ``count`` waiting pictures are drawn now, and in a batch of which size."""
    above = next((size for size in buckets if size >= count), buckets[-1])
    if count >= above or count >= FILL * above:
        return min(count, above), above
    below = max(size for size in buckets if size <= count)
    return below, below


def next_batch(
    waiting: list[Request], now: float, cost_s: Callable[[str, int], float] = lambda avatar, size: 0.0
) -> tuple[list[Request], int, list[Request]]:
    """``(batch, size, late)``: the next pictures by deadline, the bucket they go into, and those that came too late.

    They leave ``waiting``. Late is what its deadline would find unfinished: ``cost_s`` says how long a batch of an
    avatar and a size takes. All pictures of a batch are of one avatar: it has one network.
    """
    waiting.sort(key=lambda request: request.deadline)
    late = [request for request in waiting if request.deadline < now + cost_s(request.avatar, 1)]
    fresh = [request for request in waiting if request.deadline >= now + cost_s(request.avatar, 1)]
    if not fresh:
        waiting.clear()
        return [], 0, late
    mine = [request for request in fresh if request.avatar == fresh[0].avatar]
    taken, size = bucket_of(len(mine))
    while size > 1 and mine[0].deadline < now + cost_s(
        mine[0].avatar, size
    ):  # the first is in a hurry: a smaller batch is done sooner
        size = max(bucket for bucket in BUCKETS if bucket < size)
        taken = min(taken, size)
    batch = mine[:taken]
    waiting[:] = _without(fresh, batch)
    return batch, size, late


def _without(requests: Iterable[Request], gone: Iterable[Request]) -> list[Request]:
    left_out = {id(request) for request in gone}
    return [request for request in requests if id(request) not in left_out]
