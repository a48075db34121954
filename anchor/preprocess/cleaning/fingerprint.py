"""What a clip looks and sounds like, in a few bytes per frame that survive another encoding and another size.

The sound's code is that of Haitsma and Kalker 2002, "A highly robust audio fingerprinting system": the signs of the
differences of energy between neighbouring bands and moments, on the mel spectrogram that is there anyway. The
picture's is a difference hash of the whole frame. Shape suffixes: T frames, S mel steps, M mel bins, P pictures.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from anchor.timing import FPS, MEL_FLOOR, MEL_STEPS_PER_SECOND

__all__ = ["CODE_BITS", "PICTURE_BITS", "PICTURE_EVERY", "Fingerprint", "PictureCodes", "code_sound"]

CODE_BITS = 24  # of one frame's sound
PICTURE_BITS = 64
PICTURE_EVERY = 5  # frames
SPAN_STEPS = 16  # mel steps that one code hears, 0.2 s: encoders shift the sound by milliseconds
LAG_FRAMES = 3  # between the two moments that are compared
AUDIBLE = 1.2  # of mel levels above the floor, in the loudest band: hiss has other signs in every encoding
NO_CODE = np.uint32(0xFFFFFFFF)  # where nothing is heard


@dataclass(frozen=True)
class Fingerprint:
    """One clip: a code per frame of the sound, and one per fifth frame of the picture."""

    sound_T: np.ndarray  # uint32; NO_CODE where nothing is heard
    pictures_P: np.ndarray  # uint64
    first: int  # the frame of the first picture code; the others follow every fifth

    @property
    def is_heard(self) -> np.ndarray:
        """Bool (T,): where there is a code."""
        return self.sound_T != NO_CODE

    def to_text(self) -> dict[str, str | int]:
        """As JSON can hold it."""
        sound = base64.b64encode(self.sound_T.astype("<u4").tobytes()).decode()
        pictures = base64.b64encode(self.pictures_P.astype("<u8").tobytes()).decode()
        return {"sound": sound, "pictures": pictures, "first": self.first}

    @staticmethod
    def from_text(text: dict[str, str | int]) -> Fingerprint:
        """The inverse of ``to_text``."""
        sound = np.frombuffer(base64.b64decode(str(text["sound"])), "<u4")
        return Fingerprint(sound, np.frombuffer(base64.b64decode(str(text["pictures"])), "<u8"), int(text["first"]))


class PictureCodes:
    """Give it every frame in order; it codes every fifth."""

    def __init__(self) -> None:
        self.first = 0
        self._codes: list[int] = []
        self._next: int | None = None

    def add(self, index: int, frame: np.ndarray) -> None:
        """Look at frame ``index``, uint8 RGB (H, W, 3)."""
        if self._next is None:
            self.first = self._next = -(-index // PICTURE_EVERY) * PICTURE_EVERY
        if index == self._next:
            self._codes.append(_code_picture(frame))
            self._next += PICTURE_EVERY

    def codes(self) -> np.ndarray:
        """uint64 (P,)."""
        return np.array(self._codes, np.uint64)


def code_sound(mel_SM: np.ndarray, num_frames: int) -> np.ndarray:
    """uint32 (T,): the code of every frame's sound, ``NO_CODE`` where nothing is heard; ``mel_SM`` is the log-mel."""
    bands = np.array_split(np.arange(mel_SM.shape[1]), CODE_BITS + 1)
    energy_SB = np.stack([mel_SM[:, band].mean(1, dtype=np.float64) for band in bands], 1)
    sums = np.concatenate([np.zeros((1, CODE_BITS + 1)), np.cumsum(energy_SB, axis=0)])
    middle_T = np.arange(-LAG_FRAMES, num_frames) * MEL_STEPS_PER_SECOND // FPS
    start_T = np.clip(middle_T - SPAN_STEPS // 2, 0, len(mel_SM))
    stop_T = np.clip(middle_T + SPAN_STEPS // 2, 0, len(mel_SM))
    level_TB = (sums[stop_T] - sums[start_T]) / np.maximum(stop_T - start_T, 1)[:, None]
    across_TC = level_TB[:, :-1] - level_TB[:, 1:]
    is_set_TC = across_TC[LAG_FRAMES:] > across_TC[:-LAG_FRAMES]
    codes_T = (is_set_TC * (1 << np.arange(CODE_BITS))).sum(1).astype(np.uint32)
    is_heard_T = level_TB[LAG_FRAMES:].max(1) > MEL_FLOOR + AUDIBLE
    return np.where(is_heard_T, codes_T, NO_CODE)


def _code_picture(frame: np.ndarray) -> int:
    step = max(1, min(frame.shape[:2]) // 96)
    picked = np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step])
    grey = cv2.cvtColor(cv2.resize(picked, (9, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    bits = grey[:, 1:] > grey[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
