"""Which windows training consumed, as one number: two runs that consumed the same ones show the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import Tensor

from anchor.batch import ClipEntry, LipBatch

__all__ = ["ConsumedWindows", "add_up", "show"]

MODULUS = 2**128
PENDING_BATCHES = 64  # kept on the card before they are counted, which waits for it


class ConsumedWindows:
    """The sum over all windows, modulo 2**128, of a hash of each; neither order nor ranks change a sum.

    Windows that only fill a batch up are left out, as no weight has seen them.
    """

    def __init__(self) -> None:
        self.clips: Sequence[ClipEntry] = []  # of the training split
        self.count, self.total = 0, 0  # of this process, since it began
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, batch: LipBatch) -> None:
        """Count the windows of ``batch``."""
        self._pending.append((batch["clip_B"], batch["frame_B"], batch["weight_B"]))
        if len(self._pending) >= PENDING_BATCHES:
            self.settle()

    def settle(self) -> tuple[int, int]:
        """Number and sum of all windows so far."""
        for clips, frames, weights in self._pending:
            for clip, frame, weight in zip(clips.tolist(), frames.tolist(), weights.tolist(), strict=True):
                if weight > 0:
                    word = hashlib.blake2b(f"{self.clips[clip].key} {frame}".encode(), digest_size=16)
                    self.total = (self.total + int.from_bytes(word.digest(), "big")) % MODULUS
                    self.count += 1
        self._pending.clear()
        return self.count, self.total


def add_up(parts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Number and sum of what all ranks, or several starts, consumed."""
    return sum(count for count, _ in parts), sum(total for _, total in parts) % MODULUS


def show(total: int) -> str:
    """A sum as 32 hexadecimal digits."""
    return f"{total:032x}"
