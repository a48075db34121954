"""What the mouth of one face looks like from frame to frame, kept small: 280 bytes a frame.

Shape suffixes: T frames, D pixels of the small mouth (140).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.errors import FaceError
from anchor.preprocess.sync.register import FaceRegister
from anchor.timing import FPS

__all__ = ["MAX_FRAMES", "MIN_STRETCH", "MouthLog", "Stretch"]

MOUTH = (slice(40, 60), slice(18, 46))  # of a crop of 64 px, around 0.77 of the height of the canonical box
SMALL = (14, 10)  # px, width and height that are kept
MIN_SIDE = 64  # px of a crop
MAX_FRAMES = 60 * FPS  # looked at in a clip, however long it is
PIECE = 12 * FPS  # frames in a row that are looked at in a longer one
MIN_STRETCH = FPS  # frames in a row below which a stretch says nothing


@dataclass(frozen=True)
class Stretch:
    """Frames in a row, without a cut, of one face."""

    start: int  # number of the first frame
    mouth: np.ndarray  # float32 (T, D)


class MouthLog:
    """The mouth of one face, frame by frame; a gap between the numbers of two frames ends a stretch.

    ``num_frames`` is the length of the clip. Of one longer than a minute only five pieces of 12 s are looked at, spread
    from end to end: ask with ``wants`` whether a frame is among them, or give all and the others are ignored.
    """

    def __init__(self, num_frames: int = 0) -> None:
        self._num_frames = num_frames
        self._starts: list[int] = []
        self._mouths: list[list[np.ndarray]] = []
        self._last: int | None = None
        self._count = 0
        self._register = FaceRegister()

    def __len__(self) -> int:
        return self._count

    def wants(self, number: int) -> bool:
        """Whether frame ``number`` is looked at."""
        if self._num_frames <= MAX_FRAMES:
            return self._count < MAX_FRAMES
        pieces = MAX_FRAMES // PIECE
        room = (self._num_frames - PIECE) / (pieces - 1)  # from one piece to the next; the last ends with the clip
        piece = min(int(number / room), pieces - 1)
        return 0 <= number - int(piece * room) < PIECE

    def add(self, number: int, crop: np.ndarray, is_new: bool = False) -> None:
        """Look at the canonical square crop of frame ``number``: uint8, RGB (S, S, 3) or grey (S, S), S at least 64.

        Frames come in order. ``is_new`` says that the face was cut, or is another one, since the frame before.

        Raises:
            FaceError: the crop is no such picture, or the frame is not after the last.
        """
        if self._last is not None and number <= self._last:
            raise FaceError(f"Frame {number} came after frame {self._last}. Give a mouth's frames in order.")
        shape = crop.shape
        is_crop = crop.ndim in (2, 3) and shape[0] == shape[1] >= MIN_SIDE and shape[2:] in ((), (3,))
        if not is_crop or crop.dtype != np.uint8:
            raise FaceError(
                f"Frame {number}: a mouth is seen in square uint8 crops of {MIN_SIDE} px or more, and {crop.dtype} "
                f"{shape} arrived. Cut the face with anchor.faces.crop_face."
            )
        if not self.wants(number):
            return
        if self._last is None or number != self._last + 1 or is_new:
            self._starts.append(number)
            self._mouths.append([])
            self._register = FaceRegister()
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.ndim == 3 else crop
        face_SS = self._register.add(grey)
        small = cv2.resize(face_SS[MOUTH], SMALL, interpolation=cv2.INTER_AREA)
        self._mouths[-1].append(small.ravel().astype(np.float16))
        self._last, self._count = number, self._count + 1

    def stretches(self) -> list[Stretch]:
        """What was seen, without the stretches that are too short to say anything."""
        return [
            Stretch(start, np.array(mouths, np.float32))
            for start, mouths in zip(self._starts, self._mouths, strict=True)
            if len(mouths) >= MIN_STRETCH
        ]
