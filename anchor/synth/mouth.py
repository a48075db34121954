"""The mouth: its geometry, which is also the truth, and how it is drawn.

Units are picture units (see ``speakers``), y downwards. Shape suffixes: P points, H W pixels, C colour (RGB).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchor.synth.canvas import SUBPIXEL_BITS, to_fixed_point
from anchor.synth.speakers import CENTRE_X, Speaker

__all__ = ["Mouth", "chin_drop", "draw_mouth", "shape_mouth"]

ACROSS = np.linspace(-1, 1, 25)  # from the left to the right corner
BELLY = 1 - ACROSS**2
CUPID_BOW = 0.30 * np.exp(-(((np.abs(ACROSS) - 0.24) / 0.16) ** 2)) - 0.18 * np.exp(-((ACROSS / 0.1) ** 2))
UPPER_SHARE = 0.28  # of the opening; the rest is done by the lower lip
CHIN_SHARE = 0.55  # of the opening is followed by the chin
SUPERSAMPLING = 3
LINE_GAP = 0.7  # units; lips nearer than this are drawn as a line
INSIDE, TONGUE, TEETH = (58.0, 22.0, 24.0), (176.0, 82.0, 84.0), (238.0, 234.0, 224.0)


@dataclass(frozen=True)
class Mouth:
    """The curves of a mouth from its left to its right corner, in picture units (P,)."""

    x: np.ndarray
    upper_outer_y: np.ndarray
    upper_inner_y: np.ndarray
    lower_inner_y: np.ndarray
    lower_outer_y: np.ndarray
    gap: float  # distance of the lips at the centre
    teeth: float  # 0 .. 1
    tongue: float  # 0 .. 1


def shape_mouth(speaker: Speaker, channels: np.ndarray) -> Mouth:
    """The mouth of ``speaker`` for one row of ``mouth_track`` (5,)."""
    opening, spread, rounding, teeth, tongue = (float(value) for value in channels)
    gap = opening * speaker.full_opening
    fullness = 1 + 0.25 * rounding - 0.12 * spread
    upper = speaker.mouth_y - UPPER_SHARE * gap * BELLY**0.7
    lower = speaker.mouth_y + (1 - UPPER_SHARE) * gap * BELLY**0.7
    return Mouth(
        x=CENTRE_X + speaker.mouth_half_width * (1 + 0.16 * spread - 0.36 * rounding) * ACROSS,
        upper_outer_y=upper - speaker.upper_lip * fullness * BELLY**0.75 * (1 + CUPID_BOW),
        upper_inner_y=upper,
        lower_inner_y=lower,
        lower_outer_y=lower + speaker.lower_lip * fullness * BELLY**0.65,
        gap=gap,
        teeth=teeth,
        tongue=tongue,
    )


def chin_drop(speaker: Speaker, opening: float | np.ndarray) -> float | np.ndarray:
    """How many units the chin sinks."""
    return CHIN_SHARE * speaker.full_opening * opening


def draw_mouth(picture_HWC: np.ndarray, mouth: Mouth, speaker: Speaker, to_px: np.ndarray, light: float) -> None:
    """Draw into uint8 RGB ``picture_HWC``; ``to_px`` (2, 3) takes picture units to pixels, cut at their corners.

    The mouth is drawn larger on a layer of its own and reduced, which smooths its edges.
    """
    ends_y = [mouth.upper_outer_y.min() - 1, mouth.lower_outer_y.max() + 1]
    corners = np.array([(x, y, 1.0) for x in (mouth.x[0] - 1, mouth.x[-1] + 1) for y in ends_y]) @ to_px.T
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)), picture_HWC.shape[1::-1]).astype(int)
    if (high <= low).any():
        return  # out of the picture
    to_layer = to_px.copy()
    to_layer[:, 2] -= low
    to_layer *= SUPERSAMPLING
    width, height = (high - low).tolist()
    layer = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)  # premultiplied RGBA
    _draw_layer(layer, mouth, speaker, to_layer, light)
    layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    patch = picture_HWC[low[1] : high[1], low[0] : high[0]]
    behind = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2RGB)
    patch[:] = cv2.add(cv2.multiply(patch, behind, scale=1 / 255), layer[..., :3])


def _draw_layer(layer: np.ndarray, mouth: Mouth, speaker: Speaker, to_layer: np.ndarray, light: float) -> None:
    upper, lower = mouth.upper_inner_y, mouth.lower_inner_y
    height, lips = lower - upper, speaker.lips

    def band(top: np.ndarray, bottom: np.ndarray, colour: np.ndarray, width: float = 1.0) -> None:
        """Fill between two curves, on the middle ``width`` of the mouth."""
        x, top, bottom = (np.interp(width * ACROSS, ACROSS, curve) for curve in (mouth.x, top, bottom))
        points = np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])
        corners = to_fixed_point(points @ to_layer[:, :2].T + to_layer[:, 2] - 0.5)
        cv2.fillPoly(layer, [corners], (*np.clip(colour * light, 0, 255).tolist(), 255.0), cv2.LINE_8, SUBPIXEL_BITS)

    if mouth.gap > LINE_GAP:
        band(upper - 0.2, lower + 0.2, np.array(INSIDE))
        if mouth.tongue > 0.05:
            tongue = np.minimum((1.0 + 3.6 * mouth.tongue) * BELLY, 0.45 * height)
            band(lower - tongue, lower, np.array(TONGUE), width=0.85)
        if mouth.teeth > 0.05:
            teeth = np.minimum(min(0.5 + 3.0 * mouth.teeth, 0.6 * mouth.gap + 0.4) * BELLY**0.3, 0.62 * height)
            band(upper - 0.2, upper + teeth, np.array(TEETH) * speaker.teeth, width=0.9)
    band(mouth.upper_outer_y, upper + 0.3, lips * 0.88)
    band(lower - 0.3, mouth.lower_outer_y, lips)
    thickness = mouth.lower_outer_y - lower
    band(lower + 0.25 * thickness, lower + 0.6 * thickness, np.minimum(lips * 1.1, 255), width=0.6)
    if mouth.gap <= LINE_GAP:
        middle = (upper + lower) / 2
        band(middle - 0.3, middle + 0.3, lips * 0.45)
