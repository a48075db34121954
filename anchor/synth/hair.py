"""Hair and beards. Units are picture units, y downwards. Shape suffixes: H W pixels."""

from __future__ import annotations

import cv2
import numpy as np

from anchor.synth.canvas import Canvas
from anchor.synth.speakers import CENTRE_X, Speaker

__all__ = ["hair_texture", "paint_back_hair", "paint_beard", "paint_front_hair"]

BACK_SHADE = 0.78  # hair behind the face lies in its shadow
THICKNESS = {"short": 3.0, "long": 3.6, "parted": 3.8, "curly": 6.0, "bald": 0.0, "tied": 2.8}  # units over the skull
BEARD_STRENGTH = {"stubble": 0.32, "full": 0.86, "goatee": 0.86}


def hair_texture(speaker: Speaker, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Strands, or curls: float32 (H, W) around 1, for the colour of the hair to be multiplied with."""
    noise_HW = rng.standard_normal((canvas.num_px, canvas.num_px), np.float32)
    across, along = (0.9, 0.9) if speaker.hair_style == "curly" else (0.4, 5.0)
    strands_HW = cv2.GaussianBlur(noise_HW, (0, 0), across * canvas.px_per_unit, sigmaY=along * canvas.px_per_unit)
    return 1 + 0.11 * strands_HW / strands_HW.std()


def paint_back_hair(speaker: Speaker, canvas: Canvas, strands_HW: np.ndarray) -> None:
    """What is seen of the hair behind face and neck."""
    style = speaker.hair_style
    if style == "bald":
        return
    colour, thickness = speaker.hair * BACK_SHADE, THICKNESS[style]
    half_width, top_y = speaker.face_half_width + thickness, speaker.skull_top_y - thickness
    angle = np.linspace(0, 2 * np.pi, 160)
    if style == "tied":
        bun = np.stack([CENTRE_X + 9 * np.cos(angle), top_y + 0.5 + 7 * np.sin(angle)], axis=1)
        canvas.fill(bun, colour, texture_HW=strands_HW)
    bottom_y = {"long": speaker.chin_y + 12, "curly": speaker.eye_y + 16}.get(style, speaker.eye_y + 6)
    down = np.sin(angle)
    above, below = speaker.eye_y + (speaker.eye_y - top_y) * down, speaker.eye_y + (bottom_y - speaker.eye_y) * down
    y = np.where(down < 0, above, below)
    x = CENTRE_X + half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (0.55 if style == "long" else 0.8)
    outline = np.stack([x, y], axis=1)
    if style == "curly":
        outline = outline + 1.1 * np.stack([np.sin(angle * 22), np.cos(angle * 19)], axis=1)
    canvas.fill(outline, colour, blur=0.3, texture_HW=strands_HW)


def paint_front_hair(speaker: Speaker, canvas: Canvas, strands_HW: np.ndarray) -> None:
    """The hair between the crown and the hairline, and what falls beside the face."""
    style = speaker.hair_style
    if style == "bald":
        canvas.spot(
            CENTRE_X + 8 * speaker.light[0], speaker.skull_top_y + 10, 9, 5, np.minimum(speaker.skin * 1.3, 255), 0.3
        )
        return
    thickness = THICKNESS[style]
    across = np.linspace(-1, 1, 80)  # from the left to the right temple
    crown = np.pi * (across + 1) / 2
    outer_x = CENTRE_X - (speaker.face_half_width + thickness) * np.cos(crown)
    temple_y = speaker.eye_y - 1
    outer_y = temple_y - (temple_y - speaker.skull_top_y + thickness) * np.sin(crown) ** 0.9
    if style == "curly":
        outer_x, outer_y = outer_x + 1.0 * np.sin(across * 30), outer_y + 1.2 * np.sin(across * 34)
    inner_x = CENTRE_X + across * speaker.face_half_width * 0.985
    inner_y = np.maximum(np.minimum(_hairline(speaker, across), temple_y), outer_y + 0.5)
    top = np.stack([outer_x, outer_y], axis=1)
    canvas.fill(
        np.concatenate([top, np.stack([inner_x, inner_y], axis=1)[::-1]]),
        speaker.hair,
        blur=0.45,
        texture_HW=strands_HW,
    )
    if style == "long":
        for side in (-1, 1):
            lock = np.array(
                [
                    (0.84, -22),
                    (1.1, -20),
                    (1.17, 10),
                    (1.22, 40),
                    (1.16, 50),
                    (1.04, 55),
                    (0.96, 48),
                    (0.93, 24),
                    (0.95, 0),
                ]
            )
            points = np.stack(
                [CENTRE_X + side * lock[:, 0] * speaker.face_half_width, speaker.eye_y + lock[:, 1]], axis=1
            )
            canvas.fill(points, speaker.hair * 0.94, blur=1.0, texture_HW=strands_HW)


def _hairline(speaker: Speaker, across: np.ndarray) -> np.ndarray:
    """The height of the hair's lower edge at ``across`` in [-1, 1]."""
    centre, sides = speaker.hairline_y, np.abs(across)
    if speaker.hair_style == "long":
        return centre - 3 + 20 * np.abs(across - 0.1) ** 1.5
    if speaker.hair_style == "parted":
        return centre - 4 + 8 * np.abs(across + 0.4) + 18 * sides**7
    if speaker.hair_style == "tied":
        return centre - 1 + 16 * sides**2.6
    if speaker.hair_style == "curly":
        return centre + 1.0 * np.sin(18 * across) + 20 * sides**6
    return centre + 1.2 * np.cos(5 * across) + 22 * sides**8


def paint_beard(speaker: Speaker, canvas: Canvas, rng: np.random.Generator) -> None:
    """Stubble, a full beard or a goatee, if the speaker wears one."""
    if speaker.beard == "none":
        return
    x, y = canvas.axis[None, :], canvas.axis[:, None]
    mouth_y = speaker.mouth_y

    def bump(centre_y: float, half_width: float, half_height: float) -> np.ndarray:
        return np.exp(-0.5 * (((x - CENTRE_X) / half_width) ** 2 + ((y - centre_y) / half_height) ** 2))

    moustache_HW = bump(mouth_y - 4.6, 8.5, 1.5)
    if speaker.beard == "goatee":
        cover_HW = np.maximum(moustache_HW, bump(mouth_y + 11, 6.0, 4.2) * (y > mouth_y + 5))
    else:
        edge_y = mouth_y - 5 - 17 * np.clip(np.abs(x - CENTRE_X) / speaker.face_half_width, 0, 1) ** 3
        cheeks_HW = np.clip((y - edge_y) / 8 - 0.2, 0, 1) * np.clip((y - speaker.eye_y - 8) / 8, 0, 1)
        cover_HW = np.maximum(cheeks_HW, moustache_HW)
    bristles_HW = rng.random((canvas.num_px, canvas.num_px), np.float32)
    bristles_HW = 0.95 + 1.1 * (cv2.GaussianBlur(bristles_HW, (0, 0), 0.35 * canvas.px_per_unit) - 0.5)
    lips_HW = bump(mouth_y + 0.6, speaker.mouth_half_width * 0.72, 3.2)
    strength_HW = np.clip(cover_HW * (1 - 0.9 * lips_HW) * BEARD_STRENGTH[speaker.beard] * bristles_HW, 0, 0.92)
    canvas.tint(strength_HW, speaker.hair * 0.75)
