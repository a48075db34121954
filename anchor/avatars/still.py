"""A still picture that lives: the chest rises and falls, the head sways a little, the eyes blink.

Small smooth warps of the picture itself, nothing is painted. All motions have whole periods within the clip, so it runs
around for ever with no seam. Shape suffixes: H W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from anchor.faces import Face

__all__ = ["STILL_FRAMES", "LivingStill", "lid_closure"]

STILL_FRAMES = 300  # 12 s, three breaths
NUM_BREATHS = 3  # 15 a minute, a grown-up at rest
BREATH = 0.010  # of the face's height: how far the chest rises
HEAD_RISE = 0.35  # of that: the head is carried along
SWAY = 0.008  # of the face's height: how far the head goes to a side
TILT = 0.006  # rad, how far it tilts
BLINKS = (46, 131, 216)  # frames where eyes begin to close; 3.4 s and more apart, as people do
CLOSING, CLOSED, OPENING = 3, 1, 5  # frames: lids fall faster than they rise

# Shares of the distance of the pupils (63 mm in a grown-up): an eye is 30 mm wide and 10 to 11 mm open.
EYE_HALF_WIDTH, LID_UP, LID_DOWN, BROW = 0.30, 0.10, 0.085, 0.27


def lid_closure(frame: int) -> float:
    """How far the lids are closed in ``frame``, in [0, 1]."""
    for begin in BLINKS:
        since = frame - begin
        if 0 <= since < CLOSING:
            return float(np.sin(0.5 * np.pi * (since + 1) / (CLOSING + 1)) ** 2)
        if since < CLOSING or since >= CLOSING + CLOSED + OPENING:
            continue
        if since < CLOSING + CLOSED:
            return 1.0
        return float(np.cos(0.5 * np.pi * (since - CLOSING - CLOSED + 1) / (OPENING + 1)) ** 2)
    return 0.0


class LivingStill:
    """300 pictures of one, by number, uint8 RGB (H, W, 3).

    ``face`` tells where head and eyes are; without its keypoints nobody blinks (``can_blink``).
    """

    def __init__(self, picture: np.ndarray, face: Face) -> None:
        self._picture = picture
        height, width = picture.shape[:2]
        x0, y0, x1, y1 = (float(side) for side in face.box)
        self._unit = y1 - y0  # px, the height of the face
        self._grid_x, self._grid_y = np.meshgrid(
            np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        )
        across = (self._grid_x - (x0 + x1) / 2) / self._unit
        down = (self._grid_y - y1) / self._unit  # 0 at the chin
        # The chest moves below the chin, within the shoulders; the head with all above it, and both fade out softly.
        self._chest = _ease((down + 0.05) / 0.8) * np.exp(-((across / 1.6) ** 4))
        self._head = (
            np.exp(-((across / 1.05) ** 4))
            * (1 - _ease((down - 0.05) / 0.6))
            * np.exp(-((np.maximum(-1.35 - down, 0) / 0.35) ** 2))
        )
        self._pivot = ((x0 + x1) / 2, y1 + 0.25 * self._unit)  # the neck
        self.can_blink = face.keypoints is not None
        self._eyes = np.asarray(face.keypoints, np.float32)[:2] if face.keypoints is not None else None

    def __len__(self) -> int:
        return STILL_FRAMES

    def __getitem__(self, number: int) -> np.ndarray:
        turn = 2 * np.pi * number / STILL_FRAMES
        breath = 0.5 - 0.5 * np.cos(NUM_BREATHS * turn)  # 0 when all is out
        rise = BREATH * self._unit * breath
        sway = SWAY * self._unit * (0.7 * np.sin(turn) + 0.3 * np.sin(2 * turn + 0.7))
        tilt = TILT * (0.6 * np.sin(turn + 0.5) + 0.4 * np.sin(3 * turn))
        nod = 0.5 * SWAY * self._unit * np.sin(2 * turn + 1.1)
        move_x = self._head * (sway - tilt * (self._grid_y - self._pivot[1]))
        move_y = self._head * (nod - HEAD_RISE * rise + tilt * (self._grid_x - self._pivot[0])) - self._chest * rise
        source_x = (self._grid_x - move_x).astype(np.float32)
        source_y = (self._grid_y - move_y).astype(np.float32)
        if self._eyes is not None and (closure := lid_closure(number)) > 0:
            self._close(source_x, source_y, closure)
        return cv2.remap(self._picture, source_x, source_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _close(self, source_x: np.ndarray, source_y: np.ndarray, closure: float) -> None:
        """Pull the skin above each eye over it, and the lower lid a little up. Works on where pixels come from."""
        assert self._eyes is not None
        axis = self._eyes[1] - self._eyes[0]
        distance = float(np.hypot(*axis))
        if distance < 12:  # px: nobody sees such eyes
            return
        along, across = axis / distance, np.array([-axis[1], axis[0]], np.float32) / distance
        for eye in self._eyes:
            reach = int(np.ceil(0.5 * distance))
            left, top = max(0, int(eye[0]) - reach), max(0, int(eye[1]) - reach)
            part = slice(top, int(eye[1]) + reach + 1), slice(left, int(eye[0]) + reach + 1)
            x, y = source_x[part] - eye[0], source_y[part] - eye[1]
            u = (x * along[0] + y * along[1]) / (EYE_HALF_WIDTH * distance)
            v = (x * across[0] + y * across[1]) / distance
            arch = np.sqrt(np.clip(1 - u**2, 0, 1))  # lids are arcs that meet in the corners
            upper, lower, brow = -LID_UP * arch, LID_DOWN * arch, -BROW
            edge = upper + closure * (0.85 * (lower - upper))  # where the upper lid's edge is now
            floor = lower - closure * 0.15 * (lower - upper)  # and the lower lid's
            # Above the edge the skin between brow and lid is stretched; between the edges what is left of the eye is
            # seen as it was; below, the cheek follows up to twice the lid's height.
            stretched = brow + (v - brow) * (upper - brow) / (edge - brow)
            cheek = lower + 0.12
            raised = cheek + (v - cheek) * (cheek - lower) / (cheek - floor)
            new_v = np.where((v > brow) & (v < edge), stretched, np.where((v > floor) & (v < cheek), raised, v))
            # Softly to nothing beyond the corners.
            shift = (new_v - v) * distance * np.where(np.abs(u) < 1, _ease((1 - np.abs(u)) / 0.15), 0)
            source_x[part] += shift * across[0]
            source_y[part] += shift * across[1]


def _ease(ramp: np.ndarray) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1))).astype(np.float32)
