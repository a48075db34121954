"""The first pass over a clip: where its shots begin, and the faces found in some of its frames."""

from __future__ import annotations

from collections import deque

import numpy as np

from anchor.faces import Face, FaceDetector, FaceLooker, FaceTrack, TrackSettings, track_faces
from anchor.faces.track import separate_faces
from anchor.preprocess.cleaning.shots import LOOK_AHEAD, ShotFinder

__all__ = ["FaceFinder"]


class FaceFinder:
    """Feed it the frames in order with ``add``, then ask for ``result`` or ``faces``. It keeps the last four frames.

    Faces are looked for in every ``stride``-th frame and on both sides of a shot change, which ends every track. Where
    ``find_shots`` is false the clip counts as one shot.
    """

    def __init__(self, detector: FaceDetector, settings: TrackSettings, find_shots: bool = True) -> None:
        self.cuts: list[int] = []  # the first frame of every new shot
        self._looker, self._settings = FaceLooker(detector), settings
        self._shots = ShotFinder() if find_shots else None
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=LOOK_AHEAD + 2)
        self._origin: int | None = None
        self._is_finished = False

    @property
    def found(self) -> dict[int, list[Face]]:
        """Frontal faces of the frames looked at."""
        return self._looker.found()

    def add(self, index: int, frame: np.ndarray) -> None:
        """Look at frame ``index``, uint8 RGB (H, W, 3)."""
        self._origin = index if self._origin is None else self._origin
        self._recent.append((index, frame))
        cut = self._shots.add(index, frame) if self._shots is not None else None
        if cut is not None:
            self._note(cut)
        if (index - self._origin) % self._settings.stride == 0:
            self._looker.look(index, frame)

    def result(self, num_frames: int) -> FaceTrack:
        """The face followed, for frames 0 to ``num_frames``."""
        self._finish()
        return track_faces(self.found, num_frames, self.cuts, self._settings)

    def faces(self, num_frames: int) -> list[FaceTrack]:
        """Every lasting face, for frames 0 to ``num_frames``."""
        self._finish()
        return separate_faces(self.found, num_frames, self.cuts, self._settings)

    def _finish(self) -> None:
        if self._is_finished:
            return
        self._is_finished = True
        for cut in self._shots.finish() if self._shots is not None else ():
            self._note(cut)
        if self._recent:
            self._looker.look(*self._recent[-1])
        self._recent.clear()

    def _note(self, cut: int) -> None:
        self.cuts.append(cut)
        for index, frame in self._recent:
            if index in (cut - 1, cut):
                self._looker.look(index, frame)
