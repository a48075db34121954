"""Look for faces in chosen frames of a video: one at a time, or in batches where the detector works so."""

from __future__ import annotations

import numpy as np

from anchor.faces.face import BatchFaceDetector, Face, FaceDetector, SmallPicture

__all__ = ["FaceLooker", "is_frontal"]

MIN_EYE_DISTANCE = 0.2  # x box height; a frontal face has about 0.36, a profile under 0.15
MAX_TURN = 0.1  # x eye distance from the nose to the nearer eye, along their line; 0.5 is straight on


class FaceLooker:
    """Frontal faces by the number of their frame. What a batch needs of a frame waits until the batch is full."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._batched = detector if isinstance(detector, BatchFaceDetector) else None
        self._waiting: list[tuple[int, SmallPicture]] = []
        self._found: dict[int, list[Face]] = {}

    def look(self, index: int, frame: np.ndarray) -> None:
        """Look at frame ``index``, uint8 RGB (H, W, 3), unless it was looked at before."""
        if index in self._found:
            return
        self._found[index] = []
        if self._batched is None:
            self._keep(index, self._detector.detect(frame))
            return
        self._waiting.append((index, self._batched.shrink(frame)))
        if len(self._waiting) >= self._batched.batch_size:
            self._look_at_waiting()

    def found(self) -> dict[int, list[Face]]:
        """The faces of all frames looked at."""
        self._look_at_waiting()
        return self._found

    def _look_at_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._batched is not None and waiting:
            faces = self._batched.detect_small([small for _, small in waiting])
            for (index, _), found in zip(waiting, faces, strict=True):
                self._keep(index, found)

    def _keep(self, index: int, faces: list[Face]) -> None:
        self._found[index] = [face for face in faces if is_frontal(face)]


def is_frontal(face: Face) -> bool:
    """Both sides of the face are seen: the nose lies between the eyes. True where the detector gives no keypoints."""
    if face.keypoints is None:
        return True
    left, right, nose = face.keypoints[:3]
    across = right - left
    width = float(np.hypot(*across))
    if width < MIN_EYE_DISTANCE * float(face.box[3] - face.box[1]):
        return False
    along = float((nose - left) @ across) / width**2  # 0 at the left eye, 1 at the right
    return MAX_TURN < along < 1 - MAX_TURN
