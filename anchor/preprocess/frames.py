"""The frames of a clip, for two passes: held where they are few, decoded again where they are many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anchor.media import FrameReader
from anchor.preprocess.watch import beat

__all__ = ["ClipFrames"]

HELD_BYTES = 192 * 2**20  # decoded frames kept until the face is known: 10 s at 512 px, 1.2 s at 1080p


class ClipFrames:
    """Iterate for ``(i, uint8 RGB (H, W, 3))``, as often as needed."""

    def __init__(self, reader: FrameReader) -> None:
        self.reader = reader
        self._held: list[tuple[int, np.ndarray]] | None = None

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        if self._held is not None:
            yield from self._held
            return
        held: list[tuple[int, np.ndarray]] | None = []
        size = 0
        for pair in self.reader:
            beat()
            size += pair[1].nbytes
            if size > HELD_BYTES:
                held = None
            if held is not None:
                held.append(pair)
            yield pair
        self._held = held
