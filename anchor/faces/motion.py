"""The mouth's movement from pixels alone: for machines without a landmark model. Every name says ``pixel``.

These are not openings: light, noise and a turning head move pixels too. Compare them only between crops of the same
person and size. Shape suffixes: T frames, S crop side, C colour, H W pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from anchor.errors import FaceError
from anchor.metrics import jitter
from anchor.ops.images import lower_half, mouth_weights, to_signed

__all__ = ["pixel_mouth_jitter", "pixel_mouth_motion"]


def pixel_mouth_motion(crops_TSSC: np.ndarray) -> np.ndarray:
    """How much the mouth's box changes from each frame to the next: float32 (T - 1,), mean |difference| in [0, 1].

    ``crops_TSSC`` are successive uint8 RGB crops of canonical boxes.

    Raises:
        FaceError: they are no series of square crops, or fewer than 2.
    """
    box_TCHW = _mouth_box(crops_TSSC, 2)
    return (box_TCHW.diff(dim=0).abs().flatten(1).mean(1) / 2).numpy()


def pixel_mouth_jitter(crops_TSSC: np.ndarray) -> float:
    """How much the mouth's box trembles: :func:`anchor.metrics.jitter` of it, the second difference of pixels.

    Raises:
        FaceError: they are no series of square crops, or fewer than 3.
    """
    return float(jitter(_mouth_box(crops_TSSC, 3)[None])[0])


def _mouth_box(crops_TSSC: np.ndarray, least: int) -> torch.Tensor:
    """The box around the mouth that the training losses weigh most, (T, C, H, W) in [-1, 1]."""
    shape = crops_TSSC.shape
    if crops_TSSC.ndim != 4 or shape[1] != shape[2] or shape[3] != 3 or crops_TSSC.dtype != np.uint8:
        raise FaceError(f"Mouths move in uint8 crops (T, S, S, 3), and {crops_TSSC.dtype} {shape} arrived.")
    if len(crops_TSSC) < least:
        raise FaceError(f"{len(crops_TSSC)} crops show no movement of this kind. Give {least} or more.")
    weights_hW = mouth_weights(shape[1], 2.0)
    rows, columns = np.nonzero((weights_hW == weights_hW.max()).numpy())
    half_TChW = lower_half(to_signed(torch.from_numpy(np.ascontiguousarray(crops_TSSC)).permute(0, 3, 1, 2)))
    return half_TChW[..., rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
