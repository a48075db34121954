"""Follow faces through a video: sparse detections in, one smooth box per frame and face out.

Shape suffixes: T frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from anchor.faces.face import Face, FaceDetector
from anchor.faces.link import LinkedFaces, TrackSettings, continues, find_lasting, is_same_face
from anchor.faces.looking import FaceLooker, is_frontal

__all__ = ["FaceTrack", "FaceTracker", "TrackSettings", "is_frontal", "separate_faces", "track_faces"]

CUT_LEVEL = (
    24.0  # grey levels by which a thumbnail changes at a shot change at least; a nodding head moves it by 3 to 8
)
CUT_RATIO = 4.0  # and at least this many times its usual change


@dataclass(frozen=True)
class FaceTrack:
    """One face box per frame of a video."""

    boxes: np.ndarray  # float32 (T, 4), canonical boxes in px, NaN where there is no face
    ids: np.ndarray  # int32 (T,), which face it is; -1 where there is none. A change is another face or shot
    hit_rate: float  # share of the detections tried that found the face followed


@dataclass
class FaceTracker:
    """Feed it the frames in order with ``add``, then ask for the ``result``. It keeps no frames but the last.

    Where the detector works in batches, what it needs of the frames waits until a batch is full. Which frames are
    looked at depends on the frames alone, so the tracks are the same.
    """

    detector: FaceDetector
    settings: TrackSettings = field(default_factory=TrackSettings)

    def __post_init__(self) -> None:
        self._looker = FaceLooker(self.detector)
        self._cuts: list[int] = []
        self._previous: tuple[int, np.ndarray, np.ndarray] | None = None
        self._usual_change = 4.0
        self._origin: int | None = None

    def add(self, index: int, frame: np.ndarray) -> None:
        """Look at frame ``index`` (uint8 RGB (H, W, 3)): every ``stride``-th, and both sides of a shot change."""
        thumbnail = _thumbnail(frame)
        self._origin = index if self._origin is None else self._origin
        is_cut = False
        if self._previous is not None:
            change = float(np.abs(thumbnail - self._previous[2]).mean())
            is_cut = change > max(CUT_LEVEL, CUT_RATIO * self._usual_change)
            if is_cut:
                self._cuts.append(index)
                self._looker.look(self._previous[0], self._previous[1])
            else:
                self._usual_change += 0.05 * (change - self._usual_change)
        if is_cut or (index - self._origin) % self.settings.stride == 0:
            self._looker.look(index, frame)
        self._previous = (index, frame, thumbnail)

    def result(self, num_frames: int) -> FaceTrack:
        """The face followed, for frames 0 to ``num_frames``."""
        return track_faces(self._found(), num_frames, self._cuts, self.settings)

    def faces(self, num_frames: int) -> list[FaceTrack]:
        """Every lasting face, for frames 0 to ``num_frames``; see ``separate_faces``."""
        return separate_faces(self._found(), num_frames, self._cuts, self.settings)

    def _found(self) -> dict[int, list[Face]]:
        if self._previous is not None:
            self._looker.look(self._previous[0], self._previous[1])
        return self._looker.found()


def track_faces(
    found: dict[int, list[Face]],
    num_frames: int,
    cuts: Iterable[int] = (),
    settings: TrackSettings | None = None,
) -> FaceTrack:
    """Link the faces ``found`` at some frames into tracks, choose the largest and most persistent, and fill in.

    A track ends at a shot change (``cuts`` holds the first frame of every new shot), where the face jumps, and where
    it is missed for more than ``max_gap`` frames. Where two faces are there at once the one with the larger sum of
    score times height over its whole track wins; a weaker one fills only frames where the winner is absent.
    """
    settings = settings or TrackSettings()
    boxes_T4 = np.full((num_frames, 4), np.nan, np.float32)
    ids_T = np.full(num_frames, -1, np.int32)
    tracks, tried = find_lasting(found, num_frames, cuts, settings)
    hits = 0
    for track in tracks:
        span = np.arange(track.frames[0], min(track.frames[-1] + 1, num_frames))
        free = span[ids_T[span] < 0]
        if free.size == 0:
            continue
        boxes_T4[free] = track.boxes(settings)[free - track.frames[0]]
        # What is left of a weaker track may be several stretches: each is a face of its own.
        ids_T[free] = ids_T.max() + 1 + np.cumsum(np.diff(free, prepend=free[0]) > 1)
        hits += int(np.isin(track.frames, free).sum())
    return FaceTrack(boxes_T4, ids_T, hits / max(1, len(tried)))


def separate_faces(
    found: dict[int, list[Face]],
    num_frames: int,
    cuts: Iterable[int] = (),
    settings: TrackSettings | None = None,
) -> list[FaceTrack]:
    """One track per face, the largest, surest and most lasting first; several may be there at once.

    Tracks are linked and end as in ``track_faces``. One that begins where another ended in the same shot is the same
    face again, with an id of its own; after a shot change every face is a new one, because nothing here knows a
    person by sight. Two tracks on one place at one time are one face found twice: the weaker is left out.
    """
    settings = settings or TrackSettings()
    tracks, tried = find_lasting(found, num_frames, cuts, settings)
    faces: list[list[LinkedFaces]] = []
    boxes_F: list[np.ndarray] = []  # (T, 4) each
    ids_F: list[np.ndarray] = []
    for track in tracks:
        own_T4 = np.full((num_frames, 4), np.nan, np.float32)
        filled = track.boxes(settings)[: num_frames - track.frames[0]]
        own_T4[track.frames[0] : track.frames[0] + len(filled)] = filled
        is_there = np.isfinite(own_T4[:, 0])
        if not is_there.any() or any(is_same_face(own_T4, boxes_T4) for boxes_T4 in boxes_F):
            continue
        number = next((n for n, parts in enumerate(faces) if continues(track, parts)), len(faces))
        if number == len(faces):
            faces.append([])
            boxes_F.append(np.full((num_frames, 4), np.nan, np.float32))
            ids_F.append(np.full(num_frames, -1, np.int32))
        boxes_F[number][is_there] = own_T4[is_there]
        ids_F[number][is_there] = len(faces[number])
        faces[number].append(track)
    result = []
    for parts, boxes_T4, ids_T in zip(faces, boxes_F, ids_F, strict=True):
        num_tried = sum(int(((tried >= part.frames[0]) & (tried <= part.frames[-1])).sum()) for part in parts)
        hits = sum(int(np.isin(part.frames, tried).sum()) for part in parts)
        result.append(FaceTrack(boxes_T4, ids_T, hits / max(1, num_tried)))
    return result


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """About 32 x 32 grey values, picked without filtering: enough to see a shot change, and nearly free."""
    step_y, step_x = max(1, frame.shape[0] // 32), max(1, frame.shape[1] // 32)
    return frame[step_y // 2 :: step_y, step_x // 2 :: step_x].mean(2, dtype=np.float32)
