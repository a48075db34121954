"""Landmarks: many points on one face, and the mouth among them.

Shape suffixes: N points, 2 x and y in px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anchor.faces.face import Face

__all__ = ["LandmarkBackend", "Landmarks", "Mouth", "NoLandmarks", "eye_distance", "mouth_opening", "mouth_points"]


@dataclass(frozen=True)
class Landmarks:
    """The points of one face in one picture."""

    points: np.ndarray  # float32 (N, 2), x and y in px; the middle of pixel i is i + 0.5
    scheme: str  # which point is which: "mediapipe478", "insightface106" or "ibug68"


@dataclass(frozen=True)
class Mouth:
    """The lips of one face, clockwise in the picture from the corner on the left."""

    outer: np.ndarray  # float32 (N, 2) px, along the outer edge of both lips
    inner: np.ndarray  # float32 (N, 2) px, along the inner edge


class LandmarkBackend(Protocol):
    """Marks faces; one object serves one thread."""

    name: str

    def landmarks(self, frame: np.ndarray, face: Face) -> Landmarks | None:
        """The points of ``face`` in a uint8 RGB picture (H, W, 3); None where the model sees no face there."""
        ...


class NoLandmarks:
    """Marks nothing: what a machine without a landmark model has. Measures of it are pixel measures, and named so."""

    name = "none"

    def landmarks(self, frame: np.ndarray, face: Face) -> None:
        """Always None."""
        return


@dataclass(frozen=True)
class _Scheme:
    """Indices of points; left and right as in the picture."""

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]  # pairs of the upper and the lower inner lip
    eyes: tuple[tuple[int, int], tuple[int, int]]  # both corners of the left eye and of the right


# mediapipe: the edges of FaceLandmarksConnections.FACE_LANDMARKS_LIPS, _LEFT_EYE and _RIGHT_EYE.
# insightface106: the order of the points on insightface's page of 2d106det, as 106-to-68 conversions give it.
# ibug68: the 300-W mark-up.
_SCHEMES = {
    "mediapipe478": _Scheme(
        outer=(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
        inner=(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
        gaps=((82, 87), (13, 14), (312, 317)),
        eyes=((33, 133), (362, 263)),
    ),
    "insightface106": _Scheme(
        outer=(52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55),
        inner=(65, 66, 62, 70, 69, 57, 60, 54),
        gaps=((66, 54), (62, 60), (70, 57)),
        eyes=((35, 39), (89, 93)),
    ),
    "ibug68": _Scheme(
        outer=tuple(range(48, 60)),
        inner=tuple(range(60, 68)),
        gaps=((61, 67), (62, 66), (63, 65)),
        eyes=((36, 39), (42, 45)),
    ),
}


def mouth_points(landmarks: Landmarks | None) -> Mouth | None:
    """The lips among ``landmarks``; None where there are none, or their scheme has no lips."""
    scheme = _SCHEMES.get(landmarks.scheme) if landmarks is not None else None
    if landmarks is None or scheme is None:
        return None
    return Mouth(landmarks.points[list(scheme.outer)], landmarks.points[list(scheme.inner)])


def eye_distance(landmarks: Landmarks) -> float:
    """Between the middles of both eyes, in px; NaN where the scheme has no eyes."""
    scheme = _SCHEMES.get(landmarks.scheme)
    return float(np.linalg.norm(_across(landmarks, scheme))) if scheme is not None else float("nan")


def _across(landmarks: Landmarks, scheme: _Scheme) -> np.ndarray:
    """From the middle of the left eye to that of the right, (2,) px."""
    points_N2 = landmarks.points.astype(np.float64)
    left_2, right_2 = (points_N2[list(corners)].mean(0) for corners in scheme.eyes)
    return right_2 - left_2


def mouth_opening(landmarks: Landmarks | None) -> float | None:
    """The gap between the inner lips / the distance of the eyes: dimensionless, the same at any size and tilt.

    The gap is the mean over the middle of the mouth, measured across the line of the eyes; where points of closed lips
    cross, it is slightly below 0. None where there are no landmarks, no lips among them, or both eyes in one place.
    """
    scheme = _SCHEMES.get(landmarks.scheme) if landmarks is not None else None
    if landmarks is None or scheme is None:
        return None
    points_N2 = landmarks.points.astype(np.float64)
    across_2 = _across(landmarks, scheme)
    distance = float(np.linalg.norm(across_2))
    if not distance > 0:
        return None
    down_2 = np.array([-across_2[1], across_2[0]]) / distance
    gap = np.mean([(points_N2[lower] - points_N2[upper]) @ down_2 for upper, lower in scheme.gaps])
    return float(gap) / distance
