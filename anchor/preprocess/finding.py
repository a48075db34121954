"""The first pass over a clip: where its shots begin, and the faces found in some of its frames."""

from __future__ import annotations

from collections import deque

import numpy as np

from anchor.faces import Face, FaceDetector, FaceTrack, TrackSettings, is_frontal, track_faces
from anchor.faces.face import BatchFaceDetector, SmallPicture
from anchor.faces.track import separate_faces
from anchor.preprocess.cleaning.shots import LOOK_AHEAD, ShotFinder

__all__ = ["FaceFinder"]


class FaceFinder:
    """Feed it the frames in order with ``add``, then ask for ``result`` or ``faces``. It keeps the last four frames.

    Faces are looked for in every ``stride``-th frame and on both sides of a shot change, which ends every track. Where
    ``find_shots`` is false the clip counts as one shot.
    """

    def __init__(self, detector: FaceDetector, settings: TrackSettings, find_shots: bool = True) -> None:
        self.found: dict[int, list[Face]] = {}  # frontal faces of the frames looked at
        self.cuts: list[int] = []  # the first frame of every new shot
        self._detector, self._settings = detector, settings
        self._shots = ShotFinder() if find_shots else None
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=LOOK_AHEAD + 2)
        self._origin: int | None = None
        self._batched = detector if isinstance(detector, BatchFaceDetector) else None
        self._waiting: list[tuple[int, SmallPicture]] = []

    def add(self, index: int, frame: np.ndarray) -> None:
        """Look at frame ``index``, uint8 RGB (H, W, 3)."""
        self._origin = index if self._origin is None else self._origin
        self._recent.append((index, frame))
        cut = self._shots.add(index, frame) if self._shots is not None else None
        if cut is not None:
            self._note(cut)
        if (index - self._origin) % self._settings.stride == 0:
            self._detect(index, frame)

    def result(self, num_frames: int) -> FaceTrack:
        """The face followed, for frames 0 to ``num_frames``."""
        self._finish()
        return track_faces(self.found, num_frames, self.cuts, self._settings)

    def faces(self, num_frames: int) -> list[FaceTrack]:
        """Every lasting face, for frames 0 to ``num_frames``."""
        self._finish()
        return separate_faces(self.found, num_frames, self.cuts, self._settings)

    def _finish(self) -> None:
        for cut in self._shots.finish() if self._shots is not None else ():
            self._note(cut)
        if self._recent:
            self._detect(*self._recent[-1])
        self._recent.clear()
        self._detect_waiting()

    def _note(self, cut: int) -> None:
        self.cuts.append(cut)
        for index, frame in self._recent:
            if index in (cut - 1, cut):
                self._detect(index, frame)

    def _detect(self, index: int, frame: np.ndarray) -> None:
        if index in self.found:
            return
        self.found[index] = []
        if self._batched is None:
            self._keep(index, self._detector.detect(frame))
            return
        self._waiting.append((index, self._batched.shrink(frame)))
        if len(self._waiting) >= self._batched.batch_size:
            self._detect_waiting()

    def _detect_waiting(self) -> None:
        """A detector on a card sees many pictures at once; what it needs of them waits until a batch is full."""
        waiting, self._waiting = self._waiting, []
        if self._batched is not None and waiting:
            found = self._batched.detect_small([small for _, small in waiting])
            for (index, _), faces in zip(waiting, found, strict=True):
                self._keep(index, faces)

    def _keep(self, index: int, faces: list[Face]) -> None:
        self.found[index] = [face for face in faces if is_frontal(face)]
