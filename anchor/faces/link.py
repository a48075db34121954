"""Detections linked over time: which of them are one face, and which are none.

Shape suffixes: T frames, D detections of one track.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from anchor.errors import FaceError
from anchor.faces.detect import Face
from anchor.faces.smooth import fill_boxes

__all__ = ["LinkedFaces", "TrackSettings", "continues", "find_lasting", "is_same_face"]

SAME_PLACE = 0.3  # intersection / union of two boxes in one shot: the face that was missed for a while is back
SAME_FACE = 0.4  # and of two boxes at one time: one face, found twice


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


@dataclass
class LinkedFaces:
    """One face over time, within one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Large, sure and long is what the speaker is."""
        return float(sum(face.score * _height(face.box) for face in self.faces))

    def boxes(self, settings: TrackSettings) -> np.ndarray:
        """Smooth boxes (last - first + 1, 4) of every frame."""
        boxes_D4 = np.stack([face.box for face in self.faces])
        return fill_boxes(np.array(self.frames), boxes_D4, settings.centre_sigma, settings.size_sigma)


def find_lasting(
    found: dict[int, list[Face]], num_frames: int, cuts: Iterable[int], settings: TrackSettings
) -> tuple[list[LinkedFaces], np.ndarray]:
    """The tracks that are no false detections, the weightiest first, and the frames that were looked at."""
    starts = np.array(sorted(cuts), int)
    tried = np.array(sorted(frame for frame in found if frame < num_frames), int)
    tracks = []
    for track in sorted(_link(found, starts, settings), key=lambda track: -track.weight):
        first, last = track.frames[0], track.frames[-1]
        num_tried = int(((tried >= first) & (tried <= last)).sum())
        shot_tried = int((np.searchsorted(starts, tried, side="right") == track.shot).sum())
        if (
            len(track.frames) >= min(settings.min_hits, shot_tried)
            and np.mean([face.score for face in track.faces]) >= settings.min_score
            and len(track.frames) >= settings.min_hit_share * num_tried
            and first < num_frames
        ):
            tracks.append(track)
    return tracks, tried


def continues(track: LinkedFaces, parts: list[LinkedFaces]) -> bool:
    """Whether ``track`` is the face of ``parts`` again: the same shot, never both at once, the same place."""
    if any(part.shot != track.shot for part in parts):
        return False
    if any(part.frames[0] <= track.frames[-1] and track.frames[0] <= part.frames[-1] for part in parts):
        return False
    before = [part for part in parts if part.frames[-1] < track.frames[0]]
    after = [part for part in parts if part.frames[0] > track.frames[-1]]
    pairs = []
    if before:
        pairs.append((max(before, key=lambda part: part.frames[-1]).faces[-1].box, track.faces[0].box))
    if after:
        pairs.append((min(after, key=lambda part: part.frames[0]).faces[0].box, track.faces[-1].box))
    return all(float(_overlap(one[None], other[None])[0]) > SAME_PLACE for one, other in pairs)


def is_same_face(one_T4: np.ndarray, other_T4: np.ndarray) -> bool:
    """Whether two rows of boxes lie on one place wherever both are there."""
    both = np.isfinite(one_T4[:, 0]) & np.isfinite(other_T4[:, 0])
    return bool(both.any()) and float(_overlap(one_T4[both], other_T4[both]).mean()) > SAME_FACE


def _overlap(one_T4: np.ndarray, other_T4: np.ndarray) -> np.ndarray:
    """Intersection / union of pairs of boxes."""
    low, high = np.maximum(one_T4[:, :2], other_T4[:, :2]), np.minimum(one_T4[:, 2:], other_T4[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(one_T4[:, 2:] - one_T4[:, :2], axis=1) + np.prod(other_T4[:, 2:] - other_T4[:, :2], axis=1)
    return shared / np.maximum(areas - shared, 1e-6)


def _link(found: dict[int, list[Face]], starts: np.ndarray, settings: TrackSettings) -> list[LinkedFaces]:
    """Greedy linking: the nearest pairs first."""
    tracks: list[LinkedFaces] = []
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
                tracks.append(LinkedFaces(shot, [frame], [face]))
    return tracks


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _height(box: np.ndarray) -> float:
    return float(box[3] - box[1])
