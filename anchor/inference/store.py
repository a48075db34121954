"""Pictures by number, in memory as long as they fit and on disk beyond that."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

import numpy as np

from anchor.errors import MediaError
from anchor.ops.jpeg import decode_rgb, encode_rgb

__all__ = ["MEMORY_BYTES", "FrameStore"]

MEMORY_BYTES = 96 * 2**20  # of raw pictures kept: 0.6 s at 1080p, 6 s at 480p
SPILL_QUALITY = 98  # of what does not fit, JPEG 4:4:4 on disk: about 1 MB and 20 ms a frame at 1080p


class FrameStore:
    """Raw pictures in memory up to a budget, the rest as JPEG in a temporary file that has no name.

    A short video must be shown backwards too, and a minute of 1080p is 9 GB raw; videos can only be read forwards.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_left = memory_bytes
        self._frames: list[np.ndarray | tuple[int, int]] = []
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def has_room(self, frame: np.ndarray) -> bool:
        """Whether one more such picture stays in memory."""
        return frame.nbytes <= self.memory_left

    def append(self, frame: np.ndarray) -> None:
        """Keep one more picture, uint8 RGB (H, W, 3).

        Raises:
            MediaError: it must go to disk, and the disk is full.
        """
        if self.has_room(frame):
            self.memory_left -= frame.nbytes
            self._frames.append(frame.copy() if frame.base is not None else frame)  # a view would keep its whole batch
            return
        try:
            if self._file is None:
                self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # closed with the store
            data = encode_rgb(frame, SPILL_QUALITY)
            place = (self._file.seek(0, 2), len(data))
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise MediaError(
                f"{tempfile.gettempdir()}: picture {len(self)} of the face could not be put there ({error.strerror}). "
                "Free some space, or set TMPDIR to a folder that has more."
            ) from error
        self._frames.append(place)

    def __getitem__(self, number: int) -> np.ndarray:
        frame = self._frames[number]
        if isinstance(frame, np.ndarray):
            return frame
        assert self._file is not None
        self._file.seek(frame[0])
        return decode_rgb(self._file.read(frame[1]))
