"""The Haar cascade that opencv-python 4 brings along: the detector that needs no model."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from anchor.errors import FaceError
from anchor.faces.face import Face, canonical_box, reduce_frame

__all__ = ["HaarDetector"]

LONG_SIDE = 320  # px that it sees; larger finds no more faces of a speaker, and costs four times as much

# The square of haarcascade_frontalface_default in units of its own side: the canonical box is centred 0.0045 to its
# right, ends 1.048 sides below its top and is 1.081 sides high. Medians over 19 clips of real speakers of each
# clip's median against YuNet's box, 518 pairs; what remains (share of the height, standard deviation): centre .030,
# bottom .038, height .057. The mouth's corners then lie at .741 +- .025 of the height, with YuNet at .733 +- .013.
HAAR_CENTRE, HAAR_BOTTOM, HAAR_HEIGHT = 0.0045, 1.0479, 1.0810
HAAR_SURE = 8.0  # level weight of a median true face; below 3 lie 1 % of them, and most false ones


class HaarDetector:
    """Loose boxes, and no keypoints."""

    name = "haar"

    def __init__(self) -> None:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder) / "haarcascade_frontalface_default.xml"
        if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
            raise FaceError(
                f"detector=haar: OpenCV {cv2.__version__} has no cascades. "
                'Run pip install "opencv-python<5", or fetch a model with `anchor models fetch name=yunet`.'
            )
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        small, (scale_x, scale_y) = reduce_frame(frame, LONG_SIDE)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        squares, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=3, minSize=(24, 24), outputRejectLevels=True
        )
        faces = []
        for (x, y, side, _), weight in zip(np.reshape(squares, (-1, 4)), np.ravel(weights), strict=True):
            centre_x = (x + side * (0.5 + HAAR_CENTRE)) / scale_x
            box = canonical_box(centre_x, (y + side * HAAR_BOTTOM) / scale_y, side * HAAR_HEIGHT / scale_y)
            faces.append(Face(box, float(np.clip(weight / HAAR_SURE, 0.0, 1.0))))
        return sorted(faces, key=lambda face: -face.score)
