"""Follow one face through a video: sparse detections in, one smooth box per frame out.

Shape suffixes: T frames, D detections of one track.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from anchor.errors import FaceError
from anchor.faces.detect import Face, FaceDetector

__all__ = ["FaceTrack", "FaceTracker", "TrackSettings", "is_frontal", "track_faces"]

CUT_LEVEL = (
    24.0  # grey levels by which a thumbnail changes at a shot change at least; a nodding head moves it by 3 to 8
)
MIN_EYE_DISTANCE = 0.2  # x box height; a frontal face has about 0.36, a profile under 0.15
MAX_TURN = 0.1  # x eye distance from the nose to the nearer eye, along their line; 0.5 is straight on
CUT_RATIO = 4.0  # and at least this many times its usual change


@dataclass(frozen=True)
class TrackSettings:
    """How a face is followed; times are in frames of 25 fps."""

    stride: int = 5  # frames between detections
    max_gap: int = 15  # a face missed for longer is a gap in the track, 0.6 s
    reach: float = 0.35  # a face moves by at most this share of its height from one detection to the next
    growth: float = 1.35  # and changes its height by at most this factor
    min_hits: int = 3  # detections that make a track (fewer in a shot shorter than that)
    min_score: float = 0.3  # mean over the track; true faces score .4 to 1, Haar's false ones .1 to .26
    min_hit_share: float = 0.5  # of the detections tried in the track's span
    centre_sigma: float = 3.0  # frames of the Gaussian on the centre: follows a nod, removes the detector's jitter
    size_sigma: float = 12.0  # and on the size: an opening jaw must not zoom the picture

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise FaceError(f"detect_every={self.stride} is not a stride. Give 1 (every frame) or more.")


@dataclass(frozen=True)
class FaceTrack:
    """One face box per frame of a video."""

    boxes: np.ndarray  # float32 (T, 4), canonical boxes in px, NaN where there is no face
    ids: np.ndarray  # int32 (T,), which face it is; -1 where there is none. A change is another face or shot
    hit_rate: float  # share of the detections tried that found the face followed


@dataclass
class FaceTracker:
    """Feed it the frames in order with ``add``, then ask for the ``result``. It keeps no frames but the last."""

    detector: FaceDetector
    settings: TrackSettings = field(default_factory=TrackSettings)

    def __post_init__(self) -> None:
        self._found: dict[int, list[Face]] = {}
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
                self._detect(self._previous[0], self._previous[1])
            else:
                self._usual_change += 0.05 * (change - self._usual_change)
        if is_cut or (index - self._origin) % self.settings.stride == 0:
            self._detect(index, frame)
        self._previous = (index, frame, thumbnail)

    def result(self, num_frames: int) -> FaceTrack:
        """The face followed, for frames 0 to ``num_frames``."""
        if self._previous is not None:
            self._detect(self._previous[0], self._previous[1])
        return track_faces(self._found, num_frames, self._cuts, self.settings)

    def _detect(self, index: int, frame: np.ndarray) -> None:
        if index not in self._found:
            self._found[index] = [face for face in self.detector.detect(frame) if is_frontal(face)]


@dataclass
class _Track:
    shot: int
    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Large, sure and long is what the speaker is."""
        return float(sum(face.score * _height(face.box) for face in self.faces))


def is_frontal(face: Face) -> bool:
    """Both sides of the face are seen: the nose lies between the eyes. True where the detector gives no keypoints."""
    if face.keypoints is None:
        return True
    left, right, nose = face.keypoints[:3]
    across = right - left
    width = float(np.hypot(*across))
    if width < MIN_EYE_DISTANCE * _height(face.box):
        return False
    along = float((nose - left) @ across) / width**2  # 0 at the left eye, 1 at the right
    return MAX_TURN < along < 1 - MAX_TURN


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
    starts = np.array(sorted(cuts), int)
    tried = np.array(sorted(frame for frame in found if frame < num_frames), int)
    hits = 0
    for track in sorted(_link(found, starts, settings), key=lambda track: -track.weight):
        first, last = track.frames[0], track.frames[-1]
        num_tried = int(((tried >= first) & (tried <= last)).sum())
        shot_tried = int((np.searchsorted(starts, tried, side="right") == track.shot).sum())
        if (
            len(track.frames) < min(settings.min_hits, shot_tried)
            or np.mean([face.score for face in track.faces]) < settings.min_score
            or len(track.frames) < settings.min_hit_share * num_tried
        ):
            continue
        span = np.arange(first, min(last + 1, num_frames))
        free = span[ids_T[span] < 0]
        if free.size == 0:
            continue
        boxes_T4[free] = _fill(track, settings)[free - first]
        # What is left of a weaker track may be several stretches: each is a face of its own.
        ids_T[free] = ids_T.max() + 1 + np.cumsum(np.diff(free, prepend=free[0]) > 1)
        hits += int(np.isin(track.frames, free).sum())
    return FaceTrack(boxes_T4, ids_T, hits / max(1, len(tried)))


def _link(found: dict[int, list[Face]], starts: np.ndarray, settings: TrackSettings) -> list[_Track]:
    """Greedy linking: the nearest pairs first."""
    tracks: list[_Track] = []
    for frame in sorted(found):
        shot = int(np.searchsorted(starts, frame, side="right"))
        alive = [
            track
            for track in tracks
            if track.shot == shot and frame - track.frames[-1] <= settings.max_gap + settings.stride
        ]
        pairs = []
        for t, track in enumerate(alive):
            last = track.faces[-1]
            steps = max(1.0, (frame - track.frames[-1]) / settings.stride)
            for f, face in enumerate(found[frame]):
                ratio = _height(face.box) / _height(last.box)
                way = float(np.linalg.norm(_centre(face.box) - _centre(last.box))) / _height(last.box)
                if max(ratio, 1 / ratio) <= settings.growth and way <= settings.reach * steps**0.5:
                    pairs.append((way + abs(np.log(ratio)), t, f))
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for _, t, f in sorted(pairs):
            if t not in used_tracks and f not in used_faces:
                alive[t].frames.append(frame)
                alive[t].faces.append(found[frame][f])
                used_tracks.add(t)
                used_faces.add(f)
        for f, face in enumerate(found[frame]):
            if f not in used_faces:
                tracks.append(_Track(shot, [frame], [face]))
    return tracks


def _fill(track: _Track, settings: TrackSettings) -> np.ndarray:
    """Boxes (last - first + 1, 4) of every frame of a track: outliers out, interpolated, smoothed without delay."""
    boxes_D4 = np.stack([face.box for face in track.faces]).astype(np.float64)
    centre_D2 = (boxes_D4[:, :2] + boxes_D4[:, 2:]) / 2
    size_D2 = boxes_D4[:, 2:] - boxes_D4[:, :2]
    frames_D = np.array(track.frames)
    every = np.arange(frames_D[0], frames_D[-1] + 1)
    columns = []
    for values_D, width, sigma, is_moving in (
        (centre_D2[:, 0], 3, settings.centre_sigma, True),
        (centre_D2[:, 1], 3, settings.centre_sigma, True),
        (size_D2[:, 0], 5, settings.size_sigma, False),
        (size_D2[:, 1], 5, settings.size_sigma, False),
    ):
        columns.append(_smooth(np.interp(every, frames_D, _median(values_D, width, is_moving)), sigma, is_moving))
    centre_T2, size_T2 = np.stack(columns[:2], 1), np.stack(columns[2:], 1)
    return np.concatenate([centre_T2 - size_T2 / 2, centre_T2 + size_T2 / 2], 1).astype(np.float32)


def _median(values: np.ndarray, width: int, is_moving: bool) -> np.ndarray:
    """Running median, with a whole window at the ends too, so that an outlier there goes as well.

    A movement would go with it: the ends of what ``is_moving`` stay as they are.
    """
    width = min(width, len(values))
    starts = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    result = np.median(values[starts[:, None] + np.arange(width)], axis=1)
    if is_moving:
        half = width // 2
        result[:half], result[len(values) - half :] = values[:half], values[len(values) - half :]
    return result


def _smooth(values: np.ndarray, sigma: float, is_moving: bool) -> np.ndarray:
    """Zero-phase Gaussian. Beyond its ends the curve is mirrored: through the end point where it ``is_moving``."""
    radius = min(int(3 * sigma + 0.5), len(values) - 1)
    if radius < 1:
        return values
    before, after = values[radius:0:-1], values[-2 : -radius - 2 : -1]
    if is_moving:
        before, after = 2 * values[0] - before, 2 * values[-1] - after
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.convolve(np.concatenate([before, values, after]), kernel / kernel.sum(), mode="valid")


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """About 32 x 32 grey values, picked without filtering: enough to see a shot change, and nearly free."""
    step_y, step_x = max(1, frame.shape[0] // 32), max(1, frame.shape[1] // 32)
    return frame[step_y // 2 :: step_y, step_x // 2 :: step_x].mean(2, dtype=np.float32)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _height(box: np.ndarray) -> float:
    return float(box[3] - box[1])
