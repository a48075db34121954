"""The still part of a speaker: head, hair, neck and shoulders, painted once with the eyes open, half shut and shut.

Units are picture units (see ``speakers``), y downwards. The mouth is not here: it moves, see ``mouth``.
Shape suffixes: H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.synth.canvas import Canvas
from anchor.synth.eyes import paint_brows, paint_eyes, paint_glasses
from anchor.synth.hair import hair_texture, paint_back_hair, paint_beard, paint_front_hair
from anchor.synth.speakers import CENTRE_X, PICTURE_UNITS, Speaker

__all__ = ["LID_POSITIONS", "MARGIN", "HeadTexture", "face_outline", "paint_head"]

MARGIN = 14.0  # units painted beyond the picture, for the head to move
LID_POSITIONS = (0.0, 0.55, 1.0)  # open, half shut, shut
SUPERSAMPLED_PX = 512  # pictures are painted about this large and then reduced
NECK_SHADE, EAR_SHADE = 0.82, 0.90


@dataclass(frozen=True)
class HeadTexture:
    """What the renderer warps."""

    lids: list[np.ndarray]  # premultiplied RGBA uint8 (H, W, 4), one per entry of LID_POSITIONS
    px_per_unit: float
    mouth_light: float  # brightness of the skin around the mouth, 1 is unchanged


def paint_head(speaker: Speaker, size: int) -> HeadTexture:
    """The textures of ``speaker`` for a picture of ``size`` pixels."""
    supersampling = min(2, max(1, round(SUPERSAMPLED_PX / size)))
    px_per_unit = size / PICTURE_UNITS
    canvas = Canvas(PICTURE_UNITS, MARGIN, px_per_unit * supersampling)
    num_px = round(canvas.num_px / supersampling)
    rng = np.random.default_rng([*speaker.seed, 1])

    canvas.light_HW = _light(speaker, canvas, rng)
    strands_HW = hair_texture(speaker, canvas, rng)
    paint_back_hair(speaker, canvas, strands_HW)
    _paint_body(speaker, canvas)
    _paint_skin(speaker, canvas)
    _paint_features(speaker, canvas)
    paint_beard(speaker, canvas, rng)
    paint_brows(speaker, canvas)
    paint_front_hair(speaker, canvas, strands_HW)

    bare_face = canvas.colour_HWC.copy(), canvas.alpha_HW.copy()
    lids = []
    for lid in LID_POSITIONS:
        canvas.colour_HWC[:], canvas.alpha_HW[:] = bare_face
        paint_eyes(speaker, canvas, lid)
        paint_glasses(speaker, canvas)
        lids.append(canvas.to_rgba(num_px))
    row, column = (round((value + MARGIN) * canvas.px_per_unit) for value in (speaker.mouth_y, CENTRE_X))
    return HeadTexture(lids, num_px / (PICTURE_UNITS + 2 * MARGIN), float(canvas.light_HW[row, column]))


def face_outline(speaker: Speaker, num_points: int = 160) -> np.ndarray:
    """The edge of the skin of the face as a polygon (P, 2)."""
    angle = np.linspace(0, 2 * np.pi, num_points)
    down = np.sin(angle)
    narrowing = np.where(down > 0, 1 - (1 - speaker.jaw) * 0.55 * np.clip(down, 0, 1) ** 2, 1 - 0.05 * down**2)
    x = CENTRE_X + speaker.face_half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.85 * narrowing
    return np.stack([x, speaker.face_centre_y + speaker.face_half_height * down], axis=1)


def _light(speaker: Speaker, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Lambert's law on an ellipsoid a little larger than the head, with slightly mottled skin: float32 (H, W)."""
    x = ((canvas.axis - CENTRE_X) / (speaker.face_half_width * 1.15))[None, :]
    y = ((canvas.axis - speaker.face_centre_y) / (speaker.face_half_height * 1.15))[:, None]
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0.06, 1))
    to_right, down, to_viewer = speaker.light
    lambert = np.clip(x * to_right + y * down + z * to_viewer, 0, 1)
    mottled = cv2.GaussianBlur(
        rng.standard_normal((canvas.num_px, canvas.num_px), np.float32), (0, 0), 0.5 * canvas.px_per_unit
    )
    return (speaker.ambient + (1.08 - speaker.ambient) * lambert + 0.008 * mottled / mottled.std()).astype(np.float32)


def _paint_body(speaker: Speaker, canvas: Canvas) -> None:
    neck = 13.5 if speaker.is_female else 16.5
    chin = speaker.chin_y
    arm = [(neck + 3, chin + 9), (30, chin + 13), (50, chin + 18), (64, chin + 27), (70, chin + 50)]
    canvas.fill(_mirrored(arm), speaker.cloth, blur=0.25)
    canvas.fill(
        _mirrored([(0, chin + 17), (neck + 1.5, chin + 9.5), (neck, chin - 14)]), speaker.skin * NECK_SHADE, blur=0.25
    )
    canvas.line(_mirrored([(0, chin + 17), (neck + 1.5, chin + 9.5), (neck + 3, chin + 8)]), speaker.cloth * 0.7, 1.2)


def _mirrored(right: list[tuple[float, float]]) -> np.ndarray:
    """A line (P, 2) from its left end to its right one, given its right half with x counted from the middle."""
    left = [(-x, y) for x, y in reversed(right)]
    return np.array(left + right) + np.array([CENTRE_X, 0.0])


def _paint_skin(speaker: Speaker, canvas: Canvas) -> None:
    angle = np.linspace(0, 2 * np.pi, 60)
    for side in (-1, 1):
        ear_x = CENTRE_X + side * speaker.face_half_width * 0.99
        ear_y = speaker.eye_y + 7
        ear = np.stack([ear_x + 3.6 * np.cos(angle), ear_y + 7.5 * np.sin(angle)], axis=1)
        canvas.fill(ear, speaker.skin * EAR_SHADE)
        canvas.fill((ear - (ear_x, ear_y)) * (0.5, 0.6) + (ear_x, ear_y), speaker.skin * 0.66, blur=0.6, opacity=0.6)
    shadow = face_outline(speaker) + np.array([0.0, 3.0])
    canvas.fill(shadow, speaker.skin * 0.4, blur=1.8, opacity=0.4, is_inside=True)  # cast on the neck
    outline = face_outline(speaker)
    canvas.fill(outline, speaker.skin)
    coverage, box = canvas.shape(outline)
    canvas.mask_HW = np.zeros_like(canvas.alpha_HW)
    canvas.mask_HW[box] = coverage


def _paint_features(speaker: Speaker, canvas: Canvas) -> None:
    """Sockets, cheeks, nose, the folds beside it, the hollow under the lip and the chin: soft spots on the skin."""
    skin, spot = speaker.skin, canvas.spot
    bright, rosy = np.minimum(skin * 1.26, 255), skin * (1.02, 0.74, 0.72)
    eye_y, nose_y, mouth_y = speaker.eye_y, speaker.nose_base_y, speaker.mouth_y
    lit_side = np.sign(speaker.light[0]) or 1.0
    for side in (-1, 1):
        eye_x = CENTRE_X + side * speaker.eye_distance
        spot(eye_x, eye_y - 2.0, 7.0, 4.6, skin * 0.42, 0.40)
        spot(eye_x - side * 5.5, eye_y - 1, 2.6, 4.0, skin * 0.42, 0.30)
        spot(eye_x, eye_y + 6, 5.0, 1.5, skin * 0.5, 0.12)
        spot(eye_x + side * 2, eye_y + 14, 7.5, 6.0, rosy, 0.22)
        spot(eye_x, eye_y + 11, 5.0, 3.2, bright, 0.20)
        wing_x = CENTRE_X + side * speaker.nose_half_width
        spot(wing_x * 0.95 + CENTRE_X * 0.05, nose_y - 0.5, 1.9, 1.7, skin * 0.45, 0.30)
        spot(CENTRE_X + side * speaker.nose_half_width * 0.5, nose_y + 0.8, 1.3, 0.75, skin * 0.22, 0.70)
        _paint_fold(speaker, canvas, side)
        spot(CENTRE_X + side * (speaker.mouth_half_width + 1.5), mouth_y, 1.6, 1.8, skin * 0.5, 0.22)
    spot(CENTRE_X - 3.0 * lit_side, eye_y + 7, 1.7, 7.5, skin * 0.5, 0.28)  # the shaded flank of the nose
    spot(CENTRE_X + 0.6 * lit_side, eye_y + 6, 1.7, 8.5, bright, 0.42)
    spot(CENTRE_X, nose_y - 3.5, 2.5, 2.0, bright, 0.36)
    spot(CENTRE_X, nose_y + 2.0, 4.0, 1.0, skin * 0.42, 0.26)
    spot(CENTRE_X, (nose_y + mouth_y) / 2 + 0.5, 0.9, 1.8, skin * 0.5, 0.12)
    spot(CENTRE_X, mouth_y + 7.0, 6.5, 1.3, skin * 0.5, 0.24)
    spot(CENTRE_X, mouth_y + 11.5, 5.0, 2.6, bright, 0.16)
    spot(CENTRE_X, speaker.hairline_y + 10, 14, 6, bright, 0.18)


def _paint_fold(speaker: Speaker, canvas: Canvas, side: int) -> None:
    """The fold from the wing of the nose to the corner of the mouth."""
    y = canvas.axis[:, None]
    fold_x = CENTRE_X + side * (speaker.nose_half_width + 3.5 + (y - speaker.nose_base_y) * 0.5)
    across = np.exp(-0.5 * ((canvas.axis[None, :] - fold_x) / 1.1) ** 2)
    along = np.clip((y - speaker.nose_base_y + 1) / 3, 0, 1) * np.clip((speaker.mouth_y + 2 - y) / 4, 0, 1)
    canvas.tint(0.16 * speaker.wrinkles * across * along, speaker.skin * 0.4)
