"""Shot changes, found while the frames pass by: PySceneDetect's adaptive detector on small pictures."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from anchor.timing import FPS

__all__ = ["ShotFinder"]

PICK_PX = 180  # short side after whole pixels were picked, which is nearly free,
SIDE_PX = 64  # and after the mean over what was picked: noise must not look like change
# A frame begins a shot where hue, saturation and brightness change by this many levels in the mean, and by three times
# what they change in the two frames before and after. Cuts of real and drawn clips change by 29 to 60, a panning camera
# by up to 25 but for many frames, an encoder that begins with a coarse picture by 20 once.
MIN_CHANGE = 22.0
MIN_RATIO = 3.0
LOOK_AHEAD = 2  # frames: a cut is known that much later


class ShotFinder:
    """Give it every frame in order; it says where a new shot begins, two frames after it did."""

    def __init__(self) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(
            adaptive_threshold=MIN_RATIO, min_scene_len=1, window_width=LOOK_AHEAD, min_content_val=MIN_CHANGE
        )
        self._numbers: deque[int] = deque(maxlen=2 * LOOK_AHEAD + 1)  # of the frames that it has seen last
        self._count = 0
        self._last: tuple[int, np.ndarray] | None = None

    def add(self, index: int, frame: np.ndarray) -> int | None:
        """Look at frame ``index``, uint8 RGB (H, W, 3); the first frame of a new shot, where one is found now."""
        small = _reduce(frame)
        for _ in range(LOOK_AHEAD if self._last is None else 0):
            self._process(index, small)  # the first frame stands before itself, so that its successor can be a cut
        self._last = index, small
        return self._process(index, small)

    def finish(self) -> list[int]:
        """The cuts in the last two frames."""
        if self._last is None:
            return []
        cuts = [self._process(*self._last) for _ in range(LOOK_AHEAD)]
        self._last = None
        return [cut for cut in cuts if cut is not None]

    def _process(self, index: int, small: np.ndarray) -> int | None:
        from scenedetect.common import FrameTimecode

        self._numbers.append(index)
        found = self._detector.process_frame(FrameTimecode(self._count, float(FPS)), small)
        self._count += 1
        return self._numbers[found[0].frame_num - self._count] if found else None


def _reduce(frame: np.ndarray) -> np.ndarray:
    """A uint8 BGR picture with a short side of 64 px."""
    step = max(1, min(frame.shape[:2]) // PICK_PX)
    picked = np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step])
    scale = SIDE_PX / min(picked.shape[:2])
    if scale < 1:
        size = max(1, round(picked.shape[1] * scale)), max(1, round(picked.shape[0] * scale))
        picked = cv2.resize(picked, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(picked, cv2.COLOR_RGB2BGR)
