"""How much detail the drawn mouths have beside the real ones, over a whole validation."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from anchor.metrics import laplacian_variance
from anchor.ops.images import mouth_crop

__all__ = ["SharpnessRatio"]


class SharpnessRatio(Metric):
    """Laplacian variance of the mouth's box, drawn over real, over all windows of all ranks: 1 is natural."""

    output: Tensor
    real: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("output", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("real", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output_BTChW: Tensor, real_BTChW: Tensor) -> None:
        """Add a batch of windows of lower halves."""
        self.output += laplacian_variance(mouth_crop(output_BTChW.flatten(0, 1))).double().sum()
        self.real += laplacian_variance(mouth_crop(real_BTChW.flatten(0, 1))).double().sum()

    def compute(self) -> Tensor:
        """The ratio of all that was added."""
        return (self.output / self.real.clamp_min(1e-9)).float()
