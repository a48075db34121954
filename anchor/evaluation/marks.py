"""The mouth's points in crops, by the landmark backend that this machine has.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB), P points of both lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.faces.face import ASPECT, Face
from anchor.faces.points import LandmarkBackend, Landmarks, eye_distance, mouth_opening, mouth_points

__all__ = ["MouthTrack", "mark_mouths"]

HEIGHT = 320  # px: a face as high as landmark networks like it
MARGIN = 0.25  # of the height, repeated border around the crop: face networks want to see an edge


@dataclass(frozen=True)
class MouthTrack:
    """The lips over time; NaN where the model saw no face."""

    points_TP2: np.ndarray  # in distances of the eyes, from the crop's corner
    opening_T: np.ndarray  # the gap of the inner lips / the distance of the eyes

    @property
    def found_share(self) -> float:
        """The share of frames in which a face was seen."""
        return float(np.isfinite(self.opening_T).mean()) if len(self.opening_T) else 0.0


def mark_mouths(backend: LandmarkBackend, faces_TSSC: np.ndarray) -> MouthTrack | None:
    """The lips in canonical crops; None where the backend has no landmarks, or sees no face at all.

    A crop is stretched back to the canonical aspect first. The unit is the median distance of the eyes over the frames.
    """
    if backend.name == "none" or not len(faces_TSSC):
        return None
    width, pad = round(ASPECT * HEIGHT), round(MARGIN * HEIGHT)
    box = np.array([pad, pad, pad + width, pad + HEIGHT], np.float32)
    marked: list[Landmarks | None] = []
    for face in faces_TSSC:
        picture = cv2.resize(face, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        marked.append(backend.landmarks(framed, Face(box, 1.0)))
    mouths = [mouth_points(one) for one in marked]
    openings = [mouth_opening(one) for one in marked]
    known = [number for number, mouth in enumerate(mouths) if mouth is not None and openings[number] is not None]
    if not known:
        return None
    lips = {number: np.concatenate([mouths[number].outer, mouths[number].inner]) for number in known}  # type: ignore[union-attr]
    points_TP2 = np.full((len(faces_TSSC), *lips[known[0]].shape), np.nan)
    for number, points in lips.items():
        points_TP2[number] = points
    opening_T = np.array([np.nan if value is None else value for value in openings], np.float64)
    return MouthTrack(points_TP2 / _eye_distance(marked), opening_T)


def _eye_distance(marked: list[Landmarks | None]) -> float:
    """The median distance of the eyes, px."""
    return float(np.median([eye_distance(one) for one in marked if one is not None]))
