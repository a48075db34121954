"""Which part of a drawn face is laid over its frame."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["ease", "mask_extent", "mouth_mask", "seam_ring"]

# Shares of the crop's side, looked at on clips of six people at three generators' work.
SEAM_TOP, SEAM_BOTTOM = 0.55, 0.67  # the fade under the nose, which speech does not move; lips begin at 0.7
WIDTH = 0.94  # of the half width: further out are ears, earrings, hair and background
DEPTH = 0.92  # of the half height: the chin's contour, at 0.97 to 1.05 of the side, stays the original
EDGE = 0.26  # of the half side: the fade towards cheeks, jaw and chin
ROUNDNESS = 3.0  # exponent of the superellipse: 2 is an ellipse, more fills the corners; at 3 they stay the original


@functools.lru_cache(maxsize=8)
def mouth_mask(size: int) -> np.ndarray:
    """Alpha (size, size) float32 in [0, 1] of a drawn crop: 1 around the mouth, 0 in the upper half.

    A superellipse in the lower half that ends above the chin. A drawn chin beside the original one, which hangs lower
    whenever the original mouth is opened wider, would be a double chin; an original chin under a drawn mouth moves a
    little out of step, which is hard to see. The fades are raised cosines. The array is shared and read-only.
    """
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, down = np.abs(2 * place - 1) / WIDTH, np.clip(2 * place - 1, 0, 1) / DEPTH
    radius = (across[None, :] ** ROUNDNESS + down[:, None] ** ROUNDNESS) ** (1 / ROUNDNESS)
    mask = ease((1 - radius) / EDGE) * ease((place - SEAM_TOP) / (SEAM_BOTTOM - SEAM_TOP))[:, None]
    mask.setflags(write=False)
    return mask


def mask_extent(size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the mask is above 0, across and down, as shares of the side; with the pixel into which it is smoothed."""
    edge = 1 / size
    return (0.5 - WIDTH / 2 - edge, 0.5 + WIDTH / 2 + edge), (SEAM_TOP - edge, 0.5 + DEPTH / 2 + edge)


@functools.lru_cache(maxsize=8)
def seam_ring(size: int) -> np.ndarray:
    """Where the mask fades, float32 (size, size): 1 where drawn and original skin meet, 0 elsewhere. Read-only."""
    mask = mouth_mask(size)
    ring = ((mask > 0.02) & (mask < 0.75)).astype(np.float32)
    ring.setflags(write=False)
    return ring


def ease(ramp: np.ndarray) -> np.ndarray:
    """A ramp clipped to [0, 1] with soft ends, float32."""
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1))).astype(np.float32)
