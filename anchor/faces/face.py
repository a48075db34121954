"""What a face is: one protocol for all detectors, one box convention.

The canonical box, which every detector's own box is mapped to, so that crops are alike whoever found the face: its
bottom edge lies on the chin, its top on the upper forehead (the mouth's corners at 0.73 of the height, the middle of
the lips at 0.77), it is centred on the face, and its width is 0.82 of its height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

__all__ = ["ASPECT", "BatchFaceDetector", "Face", "FaceDetector", "SmallPicture", "canonical_box", "reduce_frame"]

ASPECT = 0.82  # width of the canonical box / its height


@dataclass(frozen=True)
class Face:
    """One face in one picture."""

    box: np.ndarray  # float32 (4,): x0, y0, x1, y1 in px, pixel i covers [i, i + 1); may reach past the picture
    score: float  # [0, 1], how sure the detector is; comparable within one detector
    keypoints: np.ndarray | None = (
        None  # float32 (5, 2): eyes, nose, mouth corners, each left then right in the picture
    )


class FaceDetector(Protocol):
    """Finds faces; one object serves one thread."""

    name: str

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces in a uint8 RGB picture (H, W, 3), the surest first."""
        ...


@dataclass(frozen=True)
class SmallPicture:
    """What a detector that works in batches needs of a frame; waiting ones hold no frames."""

    picture: np.ndarray  # uint8 RGB (h, w, 3)
    scale: np.ndarray  # float64 (2,): its width and height relative to the frame's


@runtime_checkable
class BatchFaceDetector(FaceDetector, Protocol):
    """Finds faces in many pictures at once, on a card."""

    batch_size: int

    def shrink(self, frame: np.ndarray) -> SmallPicture:
        """What it will look at of a uint8 RGB picture (H, W, 3)."""
        ...

    def detect_small(self, smalls: Sequence[SmallPicture]) -> list[list[Face]]:
        """The faces in each of the shrunken pictures, in px of their frames, the surest first."""
        ...

    def detect_batch(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces in each of the uint8 RGB pictures (H, W, 3), the surest first."""
        ...


def canonical_box(centre_x: float, bottom: float, height: float) -> np.ndarray:
    """float32 (4,): the box of the canonical aspect with this centre line, chin line and height, in px."""
    half = ASPECT * height / 2
    return np.array([centre_x - half, bottom - height, centre_x + half, bottom], np.float32)


def reduce_frame(frame: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    """``frame`` with its long side at most ``long_side`` px, and its width and height relative to the original's."""
    height, width = frame.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale == 1.0:
        return frame, np.ones(2)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)
