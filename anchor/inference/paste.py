"""Lay a drawn mouth back into its frame so that no edge tells where it was cut.

Shape suffixes: S side of the crop in pixels, C colour (RGB).
"""

from __future__ import annotations

import functools

import numpy as np

from anchor.faces import paste_face

__all__ = ["match_colours", "mouth_mask", "paste_mouth"]

SEAM_TOP, SEAM_BOTTOM = (
    0.55,
    0.67,
)  # of the side: the fade under the nose, which speech does not move; lips begin at 0.7
EDGE = 0.20  # of half the side: the fade towards cheeks, jaw and chin
ROUNDNESS = 3.0  # exponent of the superellipse: 2 is an ellipse, more fills the corners; at 3 they stay the original
MAX_SHIFT = 16.0  # grey levels by which a drawn mouth may be shifted to meet the skin around it


@functools.lru_cache(maxsize=8)
def mouth_mask(size: int) -> np.ndarray:
    """Alpha (size, size) float32 in [0, 1] of a drawn crop: 1 around mouth and chin, 0 in the upper half.

    A superellipse that fills the lower half: the corners, which show neck and background in every pose, stay the
    original, and so does the crop's very border; the fades are raised cosines. The array is shared and read-only.
    """
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, down = np.abs(2 * place - 1), np.clip(2 * place - 1, 0, 1)
    radius = (across[None, :] ** ROUNDNESS + down[:, None] ** ROUNDNESS) ** (1 / ROUNDNESS)
    mask = _ease((1 - radius) / EDGE) * _ease((place - SEAM_TOP) / (SEAM_BOTTOM - SEAM_TOP))[:, None]
    mask.setflags(write=False)
    return mask


def match_colours(drawn_SSC: np.ndarray, original_SSC: np.ndarray) -> np.ndarray:
    """``drawn_SSC`` shifted in colour so that it meets the original where the two blend; uint8.

    The shift is one number per channel, the mean difference over the mask's fade, at most ``MAX_SHIFT``: enough for
    a reference in other light, too little to paint.
    """
    ring = _ring(len(drawn_SSC))
    shift_C = (original_SSC[ring].astype(np.float32) - drawn_SSC[ring]).mean(0).clip(-MAX_SHIFT, MAX_SHIFT)
    if np.abs(shift_C).max() < 0.5:
        return drawn_SSC
    half = len(drawn_SSC) // 2
    matched_SSC = drawn_SSC.copy()
    matched_SSC[half:] = np.rint(np.clip(drawn_SSC[half:] + shift_C, 0, 255)).astype(np.uint8)
    return matched_SSC


def paste_mouth(frame: np.ndarray, box: np.ndarray, drawn_SSC: np.ndarray, original_SSC: np.ndarray) -> np.ndarray:
    """A copy of ``frame`` (uint8 RGB (H, W, 3)) whose face in ``box`` has the mouth of ``drawn_SSC``.

    ``original_SSC`` is the crop that was drawn over. Pixels outside the mask keep their very bytes.
    """
    return paste_face(frame, box, match_colours(drawn_SSC, original_SSC), mouth_mask(len(drawn_SSC)))


@functools.lru_cache(maxsize=8)
def _ring(size: int) -> np.ndarray:
    """Where the mask fades: bool (size, size)."""
    mask = mouth_mask(size)
    return (mask > 0.05) & (mask < 0.6)


def _ease(ramp: np.ndarray) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1))).astype(np.float32)
