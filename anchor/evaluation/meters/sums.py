"""Sums over sums, and the plainest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from anchor.metrics import correlation

__all__ = ["MeanCorrelation", "MeanValue", "Share", "SumRatio", "Throughput"]


class SumRatio(Metric):
    """A sum over a sum; :meth:`count` says what a clip adds to both."""

    full_state_update = False
    above: Tensor
    below: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("above", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("below", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, *values: Any) -> None:
        """Count one clip."""
        above, below = self.count(*values)
        self.above += above
        self.below += below

    def compute(self) -> Tensor:
        """A 0-d tensor; NaN where nothing was counted."""
        return self.above / torch.where(self.below > 0, self.below, torch.nan)

    def count(self, *values: Any) -> tuple[float, float]:
        """What a clip adds; here the two sums themselves."""
        above, below = values
        return float(above), float(below)


class Share(SumRatio):
    """The share of true values among the clip's bools."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of one array of bools."""
        return float(np.sum(values[0])), float(np.size(values[0]))


class MeanValue(SumRatio):
    """The mean of one number a clip."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of the number."""
        return float(values[0]), 1.0


class MeanCorrelation(SumRatio):
    """Pearson's r of two series, a mean over clips."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of two series (T,)."""
        left, right = (torch.from_numpy(np.asarray(value, np.float64)) for value in values)
        return float(correlation(left, right)), 1.0


class Throughput(SumRatio):
    """Frames per second of one card."""
