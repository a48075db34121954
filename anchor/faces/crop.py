"""Cut a face out of a frame and put it back: one geometry in both directions, exact below a pixel.

A box is x0, y0, x1, y1 in px where pixel i covers [i, i + 1). It is stretched to a square: crops are square, the
canonical box is not. Pixels beyond the picture repeat its border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from anchor.errors import FaceError

__all__ = ["crop_face", "paste_face"]


def crop_face(frame: np.ndarray, box: np.ndarray | Sequence[float], size: int) -> np.ndarray:
    """The region ``box`` of a uint8 RGB frame (H, W, 3) as uint8 (size, size, 3), anti-aliased where it shrinks.

    Raises:
        FaceError: the box is not finite or has no area.
    """
    x0, y0, x1, y1 = _corners(box)
    return _sample(frame, x0, y0, (x1 - x0) / size, (y1 - y0) / size, size, size)


def paste_face(
    frame: np.ndarray, box: np.ndarray | Sequence[float], crop: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """A copy of ``frame`` with ``crop`` (uint8 (size, size, 3)) laid back onto ``box``: the inverse of ``crop_face``.

    ``mask`` is alpha, float (size, size) in [0, 1], in the crop's own pixels; ``None`` covers the whole box. Parts
    beyond the picture are left out.

    Raises:
        FaceError: the box is not finite or has no area, or crop and mask differ in size.
    """
    x0, y0, x1, y1 = _corners(box)
    size_y, size_x = crop.shape[:2]
    if mask is not None and mask.shape != crop.shape[:2]:
        raise FaceError(f"A mask of {mask.shape} does not cover a crop of {crop.shape[:2]}. Give them one size.")
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(frame.shape[1], math.ceil(x1)), min(frame.shape[0], math.ceil(y1))
    result = frame.copy()
    if right <= left or bottom <= top:
        return result
    step_x, step_y = size_x / (x1 - x0), size_y / (y1 - y0)  # crop pixels per frame pixel
    place = ((left - x0) * step_x, (top - y0) * step_y, step_x, step_y, right - left, bottom - top)
    picture = _sample(crop, *place).astype(np.float32)
    alpha = np.ones(crop.shape[:2], np.float32) if mask is None else np.clip(mask, 0, 1).astype(np.float32)
    alpha_HW1 = _sample(alpha, *place)[..., None]
    alpha_HW1 = (
        alpha_HW1 * _coverage(left, right, x0, x1)[None, :, None] * _coverage(top, bottom, y0, y1)[:, None, None]
    )
    region = result[top:bottom, left:right]
    region[:] = np.rint(region + alpha_HW1 * (picture - region)).astype(np.uint8)
    return result


def _sample(
    source: np.ndarray, x: float, y: float, step_x: float, step_y: float, width: int, height: int
) -> np.ndarray:
    """``height`` x ``width`` pixels of ``source``, each the mean over its step, from the corner (x, y) on."""
    over_x, over_y = max(1, math.ceil(step_x - 1e-6)), max(1, math.ceil(step_y - 1e-6))
    fine_x, fine_y = step_x / over_x, step_y / over_y
    matrix = np.array([[fine_x, 0, x + fine_x / 2 - 0.5], [0, fine_y, y + fine_y / 2 - 0.5]], np.float64)
    fine = cv2.warpAffine(
        source,
        matrix,
        (width * over_x, height * over_y),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if over_x == over_y == 1:
        return fine
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _coverage(start: int, stop: int, low: float, high: float) -> np.ndarray:
    """The share of each pixel in [start, stop) that lies in [low, high]."""
    pixel = np.arange(start, stop, dtype=np.float32)
    return np.clip(np.minimum(pixel + 1, high) - np.maximum(pixel, low), 0.0, 1.0)


def _corners(box: np.ndarray | Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 - x0 < 1 or y1 - y0 < 1:
        raise FaceError(f"The face box {x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f} has no area. Leave the frame out.")
    return x0, y0, x1, y1
