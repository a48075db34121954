"""The pictures of a face, ready to be shown in any order, and where the face is in each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from anchor.errors import FaceError
from anchor.faces import FaceDetector, FaceTrack, FaceTracker
from anchor.media.audio import read_image
from anchor.media.reader import read_video_25fps
from anchor.ops.jpeg import decode_rgb, encode_rgb

__all__ = ["IMAGE_SUFFIXES", "FrameStore", "read_footage"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MEMORY_BYTES = 1 * 2**30  # of raw pictures kept: 7 s at 1080p, 15 s at 720p
SPILL_QUALITY = 98  # of what does not fit, JPEG 4:4:4 on disk: about 1 MB and 20 ms a frame at 1080p


class FrameStore:
    """Pictures by number: raw in memory up to a budget, the rest as JPEG in a temporary file that has no name.

    A short video must be shown backwards too, and a minute of 1080p is 9 GB raw; videos can only be read forwards.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_left = memory_bytes
        self._frames: list[np.ndarray | tuple[int, int]] = []
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, frame: np.ndarray) -> None:
        """Keep one more picture, uint8 RGB (H, W, 3)."""
        if frame.nbytes <= self.memory_left:
            self.memory_left -= frame.nbytes
            self._frames.append(frame.copy() if frame.base is not None else frame)  # a view would keep its whole batch
            return
        if self._file is None:
            self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # closed with the store
        data = encode_rgb(frame, SPILL_QUALITY)
        self._frames.append((self._file.seek(0, 2), len(data)))
        self._file.write(data)

    def __getitem__(self, number: int) -> np.ndarray:
        frame = self._frames[number]
        if isinstance(frame, np.ndarray):
            return frame
        assert self._file is not None
        self._file.seek(frame[0])
        return decode_rgb(self._file.read(frame[1]))


def read_footage(
    path: Path, detector: FaceDetector, max_frames: int, memory_bytes: int = MEMORY_BYTES
) -> tuple[FrameStore, FaceTrack]:
    """At most the first ``max_frames`` pictures of a video at 25 fps, or one still picture, and the face's track.

    The track is that of `anchor preprocess`: the same detector, the same smoothing, the same boxes.

    Raises:
        MediaError: the file cannot be read.
        FaceError: no picture shows a usable face.
    """
    store, tracker = FrameStore(memory_bytes), FaceTracker(detector)
    for number, frame in enumerate(_pictures(path)):
        if number >= max_frames:
            break
        store.append(frame)
        tracker.add(number, frame)
    track = tracker.result(len(store))
    if not (track.ids >= 0).any():
        raise FaceError(
            f"{path}: none of its {len(store)} frames shows a face that {detector.name} can follow. "
            "Give a picture of one person from the front, or another detector: detector=insightface|yunet|haar."
        )
    return store, track


def _pictures(path: Path) -> Iterator[np.ndarray]:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        yield read_image(path)
        return
    for _, frame in read_video_25fps(path):
        yield frame
