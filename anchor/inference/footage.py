"""The pictures of a face, ready to be shown in any order, and where the face is in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anchor.errors import FaceError, MediaError
from anchor.faces import FaceDetector, FaceTrack, FaceTracker
from anchor.inference.still import is_still, read_still
from anchor.inference.stopwatch import Stopwatch
from anchor.inference.store import MEMORY_BYTES, FrameStore
from anchor.media.reader import FrameReader

__all__ = ["Footage", "read_footage"]


class Footage:
    """The first pictures of a file by number. Forwards they are read from the file, so a long video needs no room.

    Args:
        path: a video at any rate, or a still picture.
        store: the pictures that were kept when the file was first read.
        num_frames: how many there are.
        is_repeated: each is asked for more than once, so what is read goes to the store; otherwise a step backwards
            beyond the store reads the file from its beginning.
        watch: books the time of reading as "decode".
    """

    def __init__(
        self, path: Path, store: FrameStore, num_frames: int, is_repeated: bool, watch: Stopwatch | None = None
    ) -> None:
        self.path, self._store, self._num_frames = path, store, num_frames
        self._is_repeated, self._watch = is_repeated, watch or Stopwatch()
        self._pictures: Iterator[np.ndarray] = iter(())
        self._last: tuple[int, np.ndarray] | None = None
        self._next = num_frames  # nothing is open

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, number: int) -> np.ndarray:
        """Picture ``number``, uint8 RGB (H, W, 3), shared: copy before painting.

        Raises:
            MediaError: the file no longer holds it.
        """
        with self._watch.part("decode"):
            if number < len(self._store):
                return self._store[number]
            if self._last is not None and self._last[0] == number:
                return self._last[1]
            return self._read(number)

    def _read(self, number: int) -> np.ndarray:
        if number < self._next:
            self._last = None
            self._pictures, self._next = read_pictures(self.path), 0
        for picture in self._pictures:
            place, self._next = self._next, self._next + 1
            if self._is_repeated and place == len(self._store):
                self._store.append(picture)
            if place == number:
                self._last = (number, picture)
                return picture
        raise MediaError(f"{self.path}: picture {number} was there and is gone. Leave the file alone while it is read.")


def read_footage(
    path: Path,
    detector: FaceDetector,
    max_frames: int,
    memory_bytes: int = MEMORY_BYTES,
    watch: Stopwatch | None = None,
) -> tuple[Footage, FaceTrack]:
    """At most the first ``max_frames`` pictures of a video at 25 fps, or one still picture, and the face's track.

    The track is that of `anchor preprocess`: the same detector, the same smoothing, the same boxes. Pictures are kept
    up to ``memory_bytes``; beyond that the file is read a second time when they are shown.

    Raises:
        MediaError: the file cannot be read.
        FaceError: no picture shows a usable face.
    """
    watch = watch or Stopwatch()
    store, tracker, count = FrameStore(memory_bytes), FaceTracker(detector), 0
    for count, frame in enumerate(watch.iterate("decode", read_pictures(path)), 1):
        if count - 1 == len(store) and store.has_room(frame):
            store.append(frame)
        with watch.part("detect"):
            tracker.add(count - 1, frame)
        if count == max_frames:
            break
    track = finished_track(tracker, path, count)
    return Footage(path, store, count, is_repeated=count < max_frames, watch=watch), track


def finished_track(tracker: FaceTracker, path: Path, count: int) -> FaceTrack:
    """The faces of the ``count`` pictures that ``tracker`` was given.

    Raises:
        MediaError: there was no picture.
        FaceError: none of them shows a usable face.
    """
    if count == 0:
        raise MediaError(f"{path}: no picture could be read. Give a video or a picture of a person.")
    track = tracker.result(count)
    if not (track.ids >= 0).any():
        raise FaceError(
            f"{path}: none of its {count} frames shows a face that {tracker.detector.name} can follow. "
            "Give a picture of one person from the front, a video of one, or another detector: "
            "detector=insightface|yunet|haar."
        )
    return track


def read_pictures(path: Path) -> Iterator[np.ndarray]:
    """The pictures of a video at 25 fps, or the one of a still, uint8 RGB (H, W, 3)."""
    if is_still(path):
        yield read_still(path)
        return
    # decord decodes ahead without bound where pictures are taken slowly: 2.8 GB after 10 s of 1080p, against 0.13 GB
    # with PyAV, which gives the same bytes (13 of 14 clips compared; MPEG-1 differs by 2 grey levels in the mean).
    for _, frame in FrameReader(path, backend="pyav"):
        yield frame
