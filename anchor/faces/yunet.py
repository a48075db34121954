"""YuNet (Apache-2.0) through OpenCV: 7 ms a picture, five keypoints. Its own box has the canonical height."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from anchor.errors import FaceError
from anchor.faces.face import Face, canonical_box, reduce_frame

__all__ = ["MAX_FACES", "MAX_OVERLAP", "MIN_SCORE", "YuNetDetector", "yunet_faces"]

LONG_SIDE = 320  # px that it sees; larger finds no more faces of a speaker, and costs four times as much
MIN_SCORE, MAX_OVERLAP, MAX_FACES = 0.6, 0.3, 50


class YuNetDetector:
    """Faces with five keypoints, from a ``*yunet*.onnx``."""

    name = "yunet"

    def __init__(self, model: Path, min_score: float = MIN_SCORE) -> None:
        try:
            with _quiet_opencv():
                self._net = cv2.FaceDetectorYN.create(
                    str(model), "", (LONG_SIDE, LONG_SIDE), min_score, MAX_OVERLAP, MAX_FACES
                )
                self.detect(np.zeros((64, 64, 3), np.uint8))  # another network loads as well, and has other outputs
        except cv2.error as error:
            raise FaceError(
                f"{model} is no YuNet model that OpenCV can read. "
                "Delete it and run `anchor models fetch name=yunet`, or use detector=auto."
            ) from error

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        small, scale = reduce_frame(frame, LONG_SIDE)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        return yunet_faces(found if found is not None else (), scale)


def yunet_faces(rows: Iterable[np.ndarray], scale: np.ndarray) -> list[Face]:
    """The faces of YuNet's rows (x, y, width, height, five points, score), the surest first, in px / ``scale``."""
    faces = []
    for row in rows:
        (x, y), (width, height) = row[:4].reshape(2, 2) / scale
        points = (row[4:14].reshape(5, 2) / scale).astype(np.float32)
        faces.append(Face(canonical_box(x + width / 2, y + height, height), float(row[14]), points))
    return sorted(faces, key=lambda face: -face.score)


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV prints where in its C++ a model failed; the sentence that we raise says it for the user."""
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)
