"""Faces measured where they are found: frames are too large to keep until it is known which face is followed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.faces import Face, FaceDetector, crop_face
from anchor.ops.quality import SHARPNESS_PX, Exposure, exposure, sharpness

__all__ = ["FaceLog", "Look"]

FACE_PX, VIEW_PX = 96, 288  # of the pictures kept for the report: side of a face, long side of a whole frame
FACES_KEPT = 3  # of one frame, the largest and surest
FACE_SCORE = 0.5  # a face counts as one of several from here on; Haar's four true ones in one clip score .67 and more
COMPANY_HEIGHT = 0.5  # x the height of the largest: smaller ones are an audience
NEAR = 0.25  # x the height of the box: a face further from the followed box is another one


@dataclass(frozen=True)
class Look:
    """One face in one frame."""

    box: np.ndarray  # float32 (4,), px of the frame
    sharpness: float
    exposure: Exposure
    crop: np.ndarray  # uint8 RGB, 96 px


class FaceLog:
    """A detector that measures every face it finds. Say in ``frame`` which one it is given next."""

    def __init__(self, detector: FaceDetector) -> None:
        self.name = detector.name
        self.frame = 0
        self.counts: dict[int, int] = {}  # sure faces per frame
        self._looks: dict[int, list[Look]] = {}
        self._views: dict[int, tuple[np.ndarray, float]] = {}
        self._detector = detector

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), as the detector behind finds them."""
        found = self._detector.detect(frame)
        largest = sorted(found, key=lambda face: -face.score * float(face.box[3] - face.box[1]))[:FACES_KEPT]
        self._looks[self.frame] = [_look(frame, face.box) for face in largest]
        heights = [float(face.box[3] - face.box[1]) for face in found if face.score >= FACE_SCORE]
        self.counts[self.frame] = sum(height >= COMPANY_HEIGHT * max(heights) for height in heights)
        scale = VIEW_PX / max(frame.shape[:2])
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        self._views[self.frame] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale
        return found

    def nearest(self, frame: int, box: np.ndarray) -> Look | None:
        """The face found in ``frame`` that belongs to the followed ``box``; None where that was interpolated."""
        height = float(box[3] - box[1])
        near = [(float(np.abs(look.box - box).mean()), i) for i, look in enumerate(self._looks.get(frame, []))]
        way, i = min(near, default=(np.inf, -1))
        return self._looks[frame][i] if way < NEAR * height else None

    def view(self, frame: int, box: np.ndarray | None = None) -> np.ndarray:
        """A small picture of ``frame``, with ``box`` drawn on it."""
        picture, scale = self._views[frame]
        if box is None:
            return picture
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        return cv2.rectangle(picture.copy(), (x0, y0), (x1, y1), (83, 193, 189), 2)


def _look(frame: np.ndarray, box: np.ndarray) -> Look:
    crop = crop_face(frame, box, SHARPNESS_PX)
    small = cv2.resize(crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    return Look(box, sharpness(crop), exposure(crop), small)
