"""Measures of drawn mouths over those of the real ones, over a whole validation and all ranks: 1 is natural."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from anchor.metrics import jitter, laplacian_variance
from anchor.ops.images import mouth_crop

__all__ = ["JitterRatio", "SharpnessRatio"]


class _Ratio(Metric):
    """What ``measure`` says of drawn windows over what it says of real ones, whatever the batches."""

    output: Tensor
    real: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("output", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("real", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output_BTChW: Tensor, real_BTChW: Tensor) -> None:
        """Add a batch of windows of lower halves."""
        self.output += self.measure(output_BTChW).double().sum()
        self.real += self.measure(real_BTChW).double().sum()

    def compute(self) -> Tensor:
        """The ratio of all that was added."""
        return (self.output / self.real.clamp_min(1e-9)).float()

    def measure(self, mouths_BTChW: Tensor) -> Tensor:
        """Any number of values, which are added up."""
        raise NotImplementedError


class JitterRatio(_Ratio):
    """:func:`anchor.metrics.jitter`: above 1 the mouth trembles, below it is stiff."""

    def measure(self, mouths_BTChW: Tensor) -> Tensor:
        """One value a window."""
        return jitter(mouths_BTChW)


class SharpnessRatio(_Ratio):
    """Laplacian variance of the mouth's box."""

    def measure(self, mouths_BTChW: Tensor) -> Tensor:
        """One value a picture."""
        return laplacian_variance(mouth_crop(mouths_BTChW.flatten(0, 1)))
