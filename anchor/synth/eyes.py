"""Eyes, brows and glasses. Units are picture units, y downwards."""

from __future__ import annotations

import numpy as np

from anchor.synth.canvas import Canvas
from anchor.synth.speakers import CENTRE_X, Speaker

__all__ = ["paint_brows", "paint_eyes", "paint_glasses"]

EYE_WHITE = (232.0, 228.0, 224.0)
PUPIL = (12.0, 10.0, 10.0)
FRAME_COLOUR = (40.0, 35.0, 37.0)
SHUT = 0.5  # an eye lower than this many units is a line
ACROSS = np.linspace(-1, 1, 25)  # from the left to the right corner


def paint_eyes(speaker: Speaker, canvas: Canvas, lid: float) -> None:
    """Both eyes; ``lid`` is 0 for open and 1 for shut."""
    lash_colour = speaker.skin * (0.22 if speaker.is_female else 0.32)
    for side in (-1, 1):
        eye_x, width, height = CENTRE_X + side * speaker.eye_distance, speaker.eye_half_width, speaker.eye_half_height
        x = eye_x + width * ACROSS
        tilt = -0.35 * ACROSS * side  # the outer corner lies higher
        upper = speaker.eye_y - height * (1 - lid) * (1 - ACROSS**2) ** 0.8 + tilt
        lower = speaker.eye_y + 0.62 * height * (1 - 0.4 * lid) * (1 - ACROSS**2) + tilt
        if height * (1 - lid) > SHUT:
            _paint_eyeball(speaker, canvas, eye_x, _band(x, upper, lower), upper.min())
            canvas.line(np.stack([x, lower], 1), speaker.skin * 0.55, 0.5)
        else:
            canvas.fill(_band(x, speaker.eye_y - height * (1 - ACROSS**2), lower), speaker.skin * 0.86, blur=0.4)
            upper = lower
        lashes_x = eye_x + width * 1.06 * ACROSS
        canvas.line(np.stack([lashes_x, upper], 1), lash_colour, 1.25 if speaker.is_female else 0.95)
        crease = speaker.eye_y - (height + 1.7) * (1 - (0.9 * ACROSS) ** 2) ** 0.8 + tilt
        canvas.line(np.stack([x, crease], 1)[3:-3], speaker.skin * 0.55, 0.45)


def _paint_eyeball(speaker: Speaker, canvas: Canvas, eye_x: float, outline: np.ndarray, top_y: float) -> None:
    coverage, box = canvas.shape(outline)
    if not coverage.size:
        return
    x, y = canvas.axis[box[1]][None, :], canvas.axis[box[0]][:, None]
    iris_x, iris_y = eye_x + speaker.gaze[0], speaker.eye_y - 0.4 + speaker.gaze[1]
    distance = np.hypot(x - iris_x, y - iris_y)
    glint = np.hypot(x - iris_x - 0.9, y - iris_y + 1.0)
    light = 0.72 + 0.28 * canvas.light_HW[box][..., None]
    paint = np.array(EYE_WHITE, np.float32) * light
    soft = canvas.px_per_unit
    radius = speaker.eye_half_height * 1.05
    for reach, colour in (
        (radius, speaker.iris * 0.5),
        (radius * 0.86, speaker.iris),
        (radius * 0.48, np.array(PUPIL)),
    ):
        inside = np.clip((reach - distance) * soft + 0.5, 0, 1)[..., None]
        paint = paint * (1 - inside) + colour * inside
    paint = paint * np.clip(0.55 + 0.45 * (y - top_y) / 2.2, 0.55, 1)[..., None]  # the shadow of the lid
    shines = np.clip((0.7 - glint) * soft + 0.5, 0, 1)[..., None]
    canvas.blend(coverage, paint * (1 - shines) + 248 * shines, box)


def paint_brows(speaker: Speaker, canvas: Canvas) -> None:
    """Both brows, thicker towards the nose and arched towards the temple."""
    colour = speaker.hair * 0.6 if speaker.hair.mean() < 110 else speaker.hair * 0.55
    for side in (-1, 1):
        eye_x = CENTRE_X + side * speaker.eye_distance
        outwards = ACROSS * side  # -1 at the nose, 1 at the temple
        arch = speaker.brow_arch * np.exp(-(((outwards - 0.35) / 0.6) ** 2))
        y = speaker.eye_y - speaker.brow_lift - arch + 1.3 * np.clip(outwards - 0.3, 0, 1)
        thickness = speaker.brow_half_height * (0.35 + 0.65 * np.clip(1 - outwards, 0, 1.3) / 1.3)
        x = eye_x + 1.2 * speaker.eye_half_width * ACROSS
        canvas.fill(_band(x, y - thickness, y + thickness), colour, blur=0.35, opacity=0.9, is_inside=True)


def paint_glasses(speaker: Speaker, canvas: Canvas) -> None:
    """Rims, bridge and temples, if the speaker wears glasses."""
    if speaker.glasses == "none":
        return
    angle = np.linspace(0, 2 * np.pi, 80)
    power = 1.0 if speaker.glasses == "round" else 0.5
    half_width, half_height = min(9.2, speaker.eye_distance - 2.4), 7.2
    cos, sin = np.cos(angle), np.sin(angle)
    for side in (-1, 1):
        eye_x = CENTRE_X + side * speaker.eye_distance
        x = eye_x + half_width * np.sign(cos) * np.abs(cos) ** power
        y = speaker.eye_y + 0.8 + half_height * np.sign(sin) * np.abs(sin) ** power
        canvas.fill(np.stack([x, y], 1), (255, 255, 255), opacity=0.05, is_lit=False)
        canvas.line(np.stack([x, y], 1), FRAME_COLOUR, 1.0, is_lit=False)
        hinge_x, temple_x = eye_x + side * half_width, CENTRE_X + side * speaker.face_half_width
        temple = np.array([[hinge_x, speaker.eye_y - 1], [temple_x, speaker.eye_y - 2]])
        canvas.line(temple, FRAME_COLOUR, 0.9, is_lit=False)
    inner = speaker.eye_distance - half_width
    bridge = np.array(
        [[CENTRE_X - inner, speaker.eye_y], [CENTRE_X, speaker.eye_y - 1.2], [CENTRE_X + inner, speaker.eye_y]]
    )
    canvas.line(bridge, FRAME_COLOUR, 0.9, is_lit=False)


def _band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The polygon (P, 2) between two curves over ``x``."""
    return np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])
