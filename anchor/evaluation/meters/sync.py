"""What an expert's embeddings say of speech at other moments.

Shape suffixes: T frames, D embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from anchor.evaluation.meters.sums import SumRatio
from anchor.metrics import pair_accuracy, shift_curve

__all__ = ["PairAccuracy", "ShiftCurve"]


class PairAccuracy(SumRatio):
    """How often the true speech beats speech of the same clip that is ``min_shift`` to ``max_shift`` frames away."""

    def __init__(self, min_shift: int, max_shift: int) -> None:
        super().__init__()
        self.min_shift, self.max_shift = min_shift, max_shift

    def count(self, *values: Any) -> tuple[float, float]:
        """Of the embeddings of a clip, (T, D) each."""
        face_TD, speech_TD = values
        won, pairs = pair_accuracy(face_TD, speech_TD, self.min_shift, self.max_shift)
        return float(won), float(pairs)


class ShiftCurve(Metric):
    """Mean cosine by shift of the speech, with the offset at its peak and the confidence: maximum minus median."""

    full_state_update = False
    total: Tensor
    clips: Tensor

    def __init__(self, max_shift: int = 15) -> None:
        super().__init__()
        self.max_shift = max_shift
        self.add_state("total", torch.zeros(2 * max_shift + 1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, face_TD: Tensor, speech_TD: Tensor) -> None:
        """Count one clip, if it is longer than the shifts on both sides."""
        if len(face_TD) > 2 * self.max_shift:
            self.total += shift_curve(face_TD, speech_TD, self.max_shift).double().cpu()
            self.clips += 1

    def compute(self) -> Tensor:
        """The curve, (2 * max_shift + 1,)."""
        return self.total / torch.where(self.clips > 0, self.clips, torch.nan)

    @staticmethod
    def offset(curve: Tensor) -> int:
        """Frames by which the sound is late."""
        return int(curve.argmax()) - len(curve) // 2

    @staticmethod
    def confidence(curve: Tensor) -> float:
        """By how much the peak stands out."""
        return float(curve.max() - curve.median())
