"""Lay a drawn mouth back into its frame so that no edge tells where it was cut.

Shape suffixes: S side of the crop in pixels, H W pixels of the region of the frame, C colour (RGB).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from anchor.inference.blend import drawn_change
from anchor.inference.mask import mask_extent, mouth_mask

__all__ = ["paste_mouth"]


def paste_mouth(
    frame: np.ndarray, box: np.ndarray, drawn_SSC: np.ndarray, original_SSC: np.ndarray, presence: float = 1.0
) -> np.ndarray:
    """A copy of ``frame`` (uint8 RGB (H, W, 3)) whose face in ``box`` has the mouth of ``drawn_SSC``.

    ``original_SSC`` is the crop that was drawn over: what is laid into the frame is the difference of the two, at the
    frame's own resolution, so a mouth drawn as it was leaves the frame as it was. ``presence`` in [0, 1] blends the
    whole. Pixels outside the mask keep their very bytes.
    """
    result = frame.copy()
    x0, y0, x1, y1 = (float(side) for side in box)
    size = len(drawn_SSC)
    across, down = mask_extent(size)
    left, right = (
        max(0, math.floor(x0 + across[0] * (x1 - x0))),
        min(frame.shape[1], math.ceil(x0 + across[1] * (x1 - x0))),
    )
    top, bottom = max(0, math.floor(y0 + down[0] * (y1 - y0))), min(frame.shape[0], math.ceil(y0 + down[1] * (y1 - y0)))
    if right <= left or bottom <= top:
        return result
    step = size / (x1 - x0), size / (y1 - y0)  # crop pixels per frame pixel
    place = (left - x0) * step[0], (top - y0) * step[1], *step, right - left, bottom - top
    change_SSC, is_other_SS = drawn_change(drawn_SSC, original_SSC)
    region = result[top:bottom, left:right]
    region_HWC = region.astype(np.float32)
    alpha_HW = _enlarge(mouth_mask(size), *place) * np.float32(presence)
    # What the crop is too coarse to hold goes where another mouth was drawn, and stays where the skin is the same.
    detail_HWC = region_HWC - _enlarge(original_SSC.astype(np.float32), *place)
    change_HWC = _enlarge(change_SSC, *place) - _enlarge(is_other_SS, *place)[..., None] * detail_HWC
    region[:] = np.clip(np.rint(region_HWC + alpha_HW[..., None] * change_HWC), 0, 255).astype(np.uint8)
    return result


def _enlarge(crop: np.ndarray, x: float, y: float, step_x: float, step_y: float, width: int, height: int) -> np.ndarray:
    """``height`` x ``width`` frame pixels of a crop, from the crop's corner (x, y) on; smooth where it shrinks.

    Pictures are enlarged sharply, masks so that they stay in [0, 1].
    """
    step = max(step_x, step_y)
    if step > 1:
        crop = cv2.GaussianBlur(crop, (0, 0), 0.45 * step, borderType=cv2.BORDER_REPLICATE)
    matrix = np.array([[step_x, 0, x + step_x / 2 - 0.5], [0, step_y, y + step_y / 2 - 0.5]], np.float64)
    return cv2.warpAffine(
        crop,
        matrix,
        (width, height),
        flags=(cv2.INTER_CUBIC if crop.ndim == 3 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
