"""One number a clip: a bad clip must not hide in a mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from anchor.metrics import correlation

__all__ = ["ClipValues", "OpeningCorrelation"]


class ClipValues(Metric):
    """One number a clip: their mean, and the quantile below which a tenth of the clips lie."""

    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")
        self._put_placeholder()

    def _put_placeholder(self) -> None:
        self.values.append(torch.tensor([torch.nan], dtype=torch.float64))  # a rank without clips takes part in a sync

    def reset(self) -> None:
        """Forget every clip."""
        super().reset()
        self._put_placeholder()

    def update(self, *values: Any) -> None:
        """Count the number of one clip; NaN is left out."""
        self.values.append(torch.tensor([float(values[0])], dtype=torch.float64))

    def compute(self) -> Tensor:
        """The mean."""
        return torch.nanmean(self._all())

    def quantile(self, share: float) -> float:
        """Over the clips that this rank knows; within a sync, over all."""
        return float(torch.nanquantile(self._all(), share))

    def _all(self) -> Tensor:
        return torch.cat(self.values) if isinstance(self.values, list) else self.values


class OpeningCorrelation(ClipValues):
    """Pearson's r of how far a mouth opens with how far it should, a mean over clips."""

    def update(self, *values: Any) -> None:
        """Count one clip of how far a mouth opens and should (T,); frames where either is NaN are left out."""
        left, right = (np.asarray(value, np.float64) for value in values)
        known = np.isfinite(left) & np.isfinite(right)
        if known.sum() > 2:
            super().update(float(correlation(torch.from_numpy(left[known]), torch.from_numpy(right[known]))))
