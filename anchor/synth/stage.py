"""One speaker in front of one camera: a drawn picture for every pose and mouth, and where the face is in it.

The still head is warped (sway, roll, turn of the head, jaw), laid over the background, and the mouth is drawn into
it. Places in units are ``speakers``' picture units; places in pixels count from the corner of the picture, so the
first pixel reaches from 0 to 1. Shape suffixes: H W pixels, C colour (RGB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from anchor.faces.detect import ASPECT
from anchor.synth.head import MARGIN, paint_head
from anchor.synth.motion import Motion
from anchor.synth.mouth import Mouth, chin_drop, draw_mouth, shape_mouth
from anchor.synth.speakers import CENTRE_X, PICTURE_UNITS, Speaker

__all__ = ["LANDMARKS", "Framing", "Stage"]

LANDMARKS = (
    "left_eye", "right_eye", "nose_tip", "mouth_left", "mouth_right",
    "upper_lip_outer", "upper_lip_inner", "lower_lip_inner", "lower_lip_outer", "chin",
)  # fmt: skip  # left is left in the picture

BOX_MOUTH_HEIGHT = 0.77  # where the closed mouth lies in the truth box, from its top: as in the canonical box
BOX_OPENING = 0.2  # the box ends at the chin of a mouth that is this far open
BODY_SHARE = 0.25  # of the head's motion reaches the shoulders
TURN_Y, TURN_WIDTH, TURN_HEIGHT = (
    72.0,
    19.0,
    32.0,
)  # units; how far a turn of the head moves features, as a Gaussian around the face
JAW_WIDTH = 26.0  # units; the cheeks beyond move little when the mouth opens
NOISE_MARGIN = 32  # px, sensor noise is drawn once and shifted from frame to frame


@dataclass(frozen=True)
class Framing:
    """How the camera sees the speaker."""

    zoom: float = 1.0
    x: float = 0.0  # units, to the right
    y: float = 0.0  # units, down


class Stage:
    """Draws pictures of ``size`` x ``size`` pixels."""

    def __init__(
        self, speaker: Speaker, size: int, rng: np.random.Generator, framing: Framing, noise: float = 0.0
    ) -> None:
        """``noise`` is the standard deviation of sensor noise in grey levels, on top of the speaker's own."""
        self.speaker, self.size, self._rng, self._framing = speaker, size, rng, framing
        self._px_per_unit = size / PICTURE_UNITS
        self._head = paint_head(speaker, size)
        self._backdrop = _paint_backdrop(speaker, size, rng)
        deviation = float(np.hypot(speaker.sensor_noise, noise))
        side = size + NOISE_MARGIN
        self._noise = np.round(deviation * rng.standard_normal((side, side, 3), np.float32)).astype(np.int16)

        axis = (np.arange(size, dtype=np.float32) + 0.5) / self._px_per_unit
        centre = PICTURE_UNITS / 2
        self._x = ((axis - centre - framing.x) / framing.zoom + centre)[None, :]  # units of the drawing, (1, W)
        self._y = ((axis - centre - framing.y) / framing.zoom + centre)[:, None]  # (H, 1)
        chin_y, mouth_y = speaker.chin_y, speaker.mouth_y
        self._head_share = np.interp(self._y, [chin_y, chin_y + 22], [1.0, BODY_SHARE]).astype(np.float32)
        self._turn_share = _turn_share(self._x, self._y).astype(np.float32)
        self._jaw_x = np.exp(-(((self._x - CENTRE_X) / JAW_WIDTH) ** 4)).astype(np.float32)
        self._jaw_steps = (
            [mouth_y - 6, mouth_y + 3, chin_y - 5, chin_y, chin_y + 8, chin_y + 22],
            [0, 0.35, 0.9, 1, 1, 0],
        )

    def draw(self, motion: Motion, frame: int, channels: np.ndarray) -> np.ndarray:
        """The picture of one frame, uint8 RGB (H, W, 3); ``channels`` is the frame's row of ``mouth_track``."""
        top, left = self._rng.integers(0, NOISE_MARGIN, 2)
        noise = self._noise[top : top + self.size, left : left + self.size]
        if abs(motion.slide[frame]) >= PICTURE_UNITS:
            return cv2.add(self._backdrop, noise, dtype=cv2.CV_8U)
        texture_x, texture_y = self._warp(motion, frame, channels[0])
        rgba = cv2.remap(self._head.lids[motion.lid[frame]], texture_x, texture_y, cv2.INTER_LINEAR)
        behind = cv2.cvtColor(255 - rgba[..., 3], cv2.COLOR_GRAY2RGB)
        picture = cv2.add(cv2.multiply(self._backdrop, behind, scale=1 / 255), rgba[..., :3])
        to_px = self._to_px(motion, frame, turn_share=_turn_share(CENTRE_X, self.speaker.mouth_y))
        draw_mouth(picture, shape_mouth(self.speaker, channels), self.speaker, to_px, self._head.mouth_light)
        return cv2.add(picture, noise, dtype=cv2.CV_8U)

    def landmarks(self, motion: Motion, frame: int, channels: np.ndarray) -> np.ndarray:
        """Where the ``LANDMARKS`` are in that picture, in pixels: float (10, 2)."""
        speaker, mouth = self.speaker, shape_mouth(self.speaker, channels)
        middle = len(mouth.x) // 2
        points = np.array([
            (CENTRE_X - speaker.eye_distance, speaker.eye_y),
            (CENTRE_X + speaker.eye_distance, speaker.eye_y),
            (CENTRE_X, speaker.nose_base_y - 3.0),
            *_mouth_points(mouth, middle),
            (CENTRE_X, speaker.chin_y + chin_drop(speaker, channels[0])),
        ])  # fmt: skip
        return np.array([
            self._to_px(motion, frame, turn_share=_turn_share(x, y)) @ (x, y, 1.0) for x, y in points
        ])  # fmt: skip

    def box(self, motion: Motion, frame: int) -> tuple[float, float, float, float] | None:
        """The canonical box of the face (see ``anchor.faces.detect``) as (x0, y0, x1, y1) in pixels.

        It moves with the head and stays still when the mouth opens, so a crop does not give the opening away. None
        where most of the face is out of the picture.
        """
        speaker = self.speaker
        bottom = speaker.chin_y + float(chin_drop(speaker, BOX_OPENING))
        height = (bottom - speaker.mouth_y) / (1 - BOX_MOUTH_HEIGHT)
        to_px = self._to_px(motion, frame, turn_share=0.0)
        centre_x, centre_y = to_px @ (CENTRE_X, bottom - height / 2, 1.0)
        height_px = height * float(np.hypot(*to_px[:, 0]))
        width_px = height_px * ASPECT
        box = centre_x - width_px / 2, centre_y - height_px / 2, centre_x + width_px / 2, centre_y + height_px / 2
        is_seen = box[2] > 0.5 * width_px and box[0] < self.size - 0.5 * width_px
        return box if is_seen else None

    def _warp(self, motion: Motion, frame: int, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """For every pixel the place in the head's texture that it shows: two float32 (H, W)."""
        x, y = self._x - np.float32(motion.slide[frame]), self._y
        inverse = cv2.invertAffineTransform(self._head_matrix(motion, frame)).astype(np.float32)
        share = self._head_share
        texture_x = x + share * (inverse[0, 0] * x - x + inverse[0, 2]) + share * inverse[0, 1] * y
        texture_y = y + share * (inverse[1, 1] * y - y + inverse[1, 2]) + (share * inverse[1, 0]) * x
        texture_x -= self._turn_share * np.float32(motion.turn[frame])
        texture_y -= self._turn_share * np.float32(motion.nod[frame])
        middle = self.size // 2
        jaw_y = np.interp(texture_y[:, middle], *self._jaw_steps).astype(np.float32)
        texture_y -= jaw_y[:, None] * (self._jaw_x * np.float32(chin_drop(self.speaker, opening)))
        scale = np.float32(self._head.px_per_unit)
        for places in (texture_x, texture_y):
            places += np.float32(MARGIN)
            places *= scale
            places -= np.float32(0.5)
        return texture_x, texture_y

    def _head_matrix(self, motion: Motion, frame: int) -> np.ndarray:
        """Sway and roll of the head as (2, 3), units to units; it rolls about the neck."""
        pivot = np.array([CENTRE_X, self.speaker.chin_y])
        zoom, roll = motion.zoom[frame], motion.roll[frame]
        rotation = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        shift = pivot + np.array([motion.x[frame], motion.y[frame]]) - rotation @ pivot
        return np.column_stack([rotation, shift])

    def _to_px(self, motion: Motion, frame: int, turn_share: float) -> np.ndarray:
        """From a place on the drawn head to pixels, (2, 3); ``turn_share`` is how much a turn moves this place."""
        matrix = self._head_matrix(motion, frame)
        matrix[:, 2] += turn_share * np.array([motion.turn[frame], motion.nod[frame]]) + (motion.slide[frame], 0.0)
        framing, centre = self._framing, PICTURE_UNITS / 2
        matrix *= framing.zoom
        matrix[:, 2] += centre * (1 - framing.zoom) + np.array([framing.x, framing.y])
        return matrix * self._px_per_unit


def _turn_share(x: Any, y: Any) -> Any:
    """How much of a turn of the head the place at ``x``, ``y`` follows, in [0, 1]; for numbers and arrays alike."""
    return np.exp(-0.5 * (((x - CENTRE_X) / TURN_WIDTH) ** 2 + ((y - TURN_Y) / TURN_HEIGHT) ** 2))


def _mouth_points(mouth: Mouth, middle: int) -> list[tuple[float, float]]:
    curves = (mouth.upper_outer_y, mouth.upper_inner_y, mouth.lower_inner_y, mouth.lower_outer_y)
    corners = [(float(mouth.x[end]), float(mouth.lower_inner_y[end])) for end in (0, -1)]
    return corners + [(float(mouth.x[middle]), float(curve[middle])) for curve in curves]


def _paint_backdrop(speaker: Speaker, size: int, rng: np.random.Generator) -> np.ndarray:
    """An out-of-focus room: uint8 RGB (H, W, 3)."""
    picture = cv2.resize(speaker.backdrop.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(int(rng.integers(2, 7))):
        colour = np.clip(picture.mean((0, 1)) + rng.normal(0, 28) + rng.normal(0, 12, 3), 0, 255).tolist()
        x, y = (int(value) for value in rng.integers(0, size, 2))
        width, height = (int(value) for value in rng.uniform(0.06, 0.35, 2) * size)
        if rng.random() < 0.6:
            cv2.rectangle(picture, (x - width // 2, y - height // 2), (x + width // 2, y + height // 2), colour, -1)
        else:
            cv2.circle(picture, (x, y), width // 2, colour, -1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.008, 0.03)) * size)
    return np.clip(blurred + 0.5, 0, 255).astype(np.uint8)
