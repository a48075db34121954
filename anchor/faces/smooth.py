"""Boxes over time: outliers out, what lies between filled in, the rest smoothed without delay.

Shape suffixes: T frames, D detections of one track.
"""

from __future__ import annotations

import numpy as np

__all__ = ["fill_boxes"]


def fill_boxes(frames_D: np.ndarray, boxes_D4: np.ndarray, centre_sigma: float, size_sigma: float) -> np.ndarray:
    """float32 (last - first + 1, 4): a box for every frame from the first of ``frames_D`` to the last.

    ``centre_sigma`` and ``size_sigma`` are those of a Gaussian, in frames, on the boxes' centres and sizes.
    """
    boxes_D4 = np.asarray(boxes_D4, np.float64)
    centre_D2 = (boxes_D4[:, :2] + boxes_D4[:, 2:]) / 2
    size_D2 = boxes_D4[:, 2:] - boxes_D4[:, :2]
    every = np.arange(frames_D[0], frames_D[-1] + 1)
    columns = []
    for values_D, width, sigma, is_moving in (
        (centre_D2[:, 0], 3, centre_sigma, True),
        (centre_D2[:, 1], 3, centre_sigma, True),
        (size_D2[:, 0], 5, size_sigma, False),
        (size_D2[:, 1], 5, size_sigma, False),
    ):
        columns.append(_smooth(np.interp(every, frames_D, _median(values_D, width, is_moving)), sigma, is_moving))
    centre_T2, size_T2 = np.stack(columns[:2], 1), np.stack(columns[2:], 1)
    return np.concatenate([centre_T2 - size_T2 / 2, centre_T2 + size_T2 / 2], 1).astype(np.float32)


def _median(values: np.ndarray, width: int, is_moving: bool) -> np.ndarray:
    """Running median, with a whole window at the ends too, so that an outlier there goes as well.

    A movement would go with it: the ends of what ``is_moving`` stay as they are.
    """
    width = min(width, len(values))
    starts = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    result = np.median(values[starts[:, None] + np.arange(width)], axis=1)
    if is_moving:
        half = width // 2
        result[:half], result[len(values) - half :] = values[:half], values[len(values) - half :]
    return result


def _smooth(values: np.ndarray, sigma: float, is_moving: bool) -> np.ndarray:
    """Zero-phase Gaussian. Beyond its ends the curve is mirrored: through the end point where it ``is_moving``."""
    radius = min(int(3 * sigma + 0.5), len(values) - 1)
    if radius < 1:
        return values
    before, after = values[radius:0:-1], values[-2 : -radius - 2 : -1]
    if is_moving:
        before, after = 2 * values[0] - before, 2 * values[-1] - after
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.convolve(np.concatenate([before, values, after]), kernel / kernel.sum(), mode="valid")
