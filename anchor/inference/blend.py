"""Make a drawn mouth belong to its frame: the colours of the skin around it, and that skin's own fine detail.

Shape suffixes: S side of the crop in pixels, C colour (RGB).
"""

from __future__ import annotations

import cv2
import numpy as np

from anchor.inference.mask import ease, seam_ring

__all__ = ["colour_shift", "drawn_change"]

MAX_SHIFT = 24.0  # grey levels by which a drawn mouth may be shifted to meet the skin around it
SKIN_LEVELS = 14.0  # a ring pixel that differs by more is less likely skin on both sides: hair, collar, a moved jaw
SHIFT_SIGMA = 0.12  # of the side: how far a part of the ring reaches into the mouth
COARSE_SIGMA = 0.012  # of the side: what is finer than this is detail: pores, stubble, grain
SAME_LEVELS, OTHER_LEVELS = (
    4.0,
    12.0,
)  # up to the first both show the same; from the second on they do not
SPREAD = 1 / 40  # of the side: around a change the detail goes too, for an edge of the old lips is part of it


def colour_shift(drawn_SSC: np.ndarray, original_SSC: np.ndarray) -> np.ndarray:
    """float32 (S, S, 3), smooth, within +-24 levels: add it, and the drawn crop meets the original where they blend.

    The mean difference over the mask's fade, and what each side differs from that mean: a lamp on the left needs
    another shift than the shadow on the right. Places that show different things on both sides count little.
    """
    size = len(drawn_SSC)
    difference_SSC = original_SSC.astype(np.float32) - drawn_SSC
    unlike_SS = _strongest(_blur(difference_SSC, 0.02 * size))
    weight_SS = seam_ring(size) / (1 + (unlike_SS / SKIN_LEVELS) ** 2)
    mean_C = np.tensordot(weight_SS, difference_SSC, 2) / max(float(weight_SS.sum()), 1e-6)
    # Far below the crop's own size a smooth field is the same and costs a sixteenth.
    small = (size + 3) // 4, (size + 3) // 4
    weight_ss = cv2.resize(weight_SS, small, interpolation=cv2.INTER_AREA)
    rest_ssC = cv2.resize(weight_SS[..., None] * (difference_SSC - mean_C), small, interpolation=cv2.INTER_AREA)
    reach_ss = _blur(weight_ss, SHIFT_SIGMA * small[0])
    field_ssC = mean_C + _blur(rest_ssC, SHIFT_SIGMA * small[0]) / (reach_ss + 0.05 * reach_ss.max() + 1e-6)[..., None]
    return cv2.resize(np.clip(field_ssC, -MAX_SHIFT, MAX_SHIFT).astype(np.float32), (size, size))


def drawn_change(drawn_SSC: np.ndarray, original_SSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the drawn crop adds to the original, float32 (S, S, 3) in levels, and where it is another picture (S, S).

    The second is in [0, 1]: 0 where both show the same up to shading, as cheeks and chin mostly do. There only the
    shading is changed, and the original's detail stays: no generator draws pores and stubble as sharp as the camera
    saw them. It is 1 in a mouth that moved, where nothing of the original may be left. The upper half changes nothing.
    An unchanged crop gives zeros, both.
    """
    size = len(drawn_SSC)
    change_SSC = drawn_SSC.astype(np.float32) - original_SSC + colour_shift(drawn_SSC, original_SSC)
    change_SSC[: size // 2] = 0
    coarse_SSC = _blur(change_SSC, COARSE_SIGMA * size)
    spread = max(3, round(SPREAD * size) | 1)
    strength_SS = cv2.dilate(_strongest(coarse_SSC), np.ones((spread, spread), np.uint8))
    is_other_SS = ease((_blur(strength_SS, 0.02 * size) - SAME_LEVELS) / (OTHER_LEVELS - SAME_LEVELS))
    return coarse_SSC + is_other_SS[..., None] * (change_SSC - coarse_SSC), is_other_SS


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)


def _strongest(levels_SSC: np.ndarray) -> np.ndarray:
    """The colour that is furthest from 0; several times as quick as numpy's reduction over three."""
    red_SS, green_SS, blue_SS = cv2.split(np.abs(levels_SSC))
    return cv2.max(cv2.max(red_SS, green_SS), blue_SS)
