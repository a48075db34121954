"""What networks that the user gives say of drawn and real pictures.

Shape suffixes: T frames, S side in pixels, C colour, N pictures, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from anchor.evaluation.measures import Area, area_of, signed
from anchor.evaluation.meters.sums import SumRatio

__all__ = ["FrechetDistance", "IdentitySimilarity", "PerceptualDistance"]


BATCH = 64  # pictures that a network sees at once


class PerceptualDistance(SumRatio):
    """Mean of what ``net`` says of two pictures in [-1, 1]: LPIPS, where it is that."""

    def __init__(self, net: nn.Module, area: Area = "face") -> None:
        super().__init__()
        self.net, self.area = net, area

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real crops."""
        drawn, real = (area_of(signed(faces), self.area) for faces in values)
        total = 0.0
        with torch.inference_mode():
            for begin in range(0, len(drawn), BATCH):
                part = slice(begin, begin + BATCH)
                total += float(self.net(drawn[part], real[part]).double().flatten().sum())
        return total, len(drawn)


class FrechetDistance(Metric):
    """The Fr\u00e9chet distance of two clouds of features (Heusel et al. 2017): FID, where ``net`` is FID's Inception.

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` from sums alone, so ranks add up. With fewer pictures than features
    it is biased upwards; read it beside that of real pictures against other real ones.
    """

    full_state_update = False

    def __init__(self, net: nn.Module, num_features: int, area: Area = "face") -> None:
        super().__init__()
        self.net, self.area = net, area
        for side in ("drawn", "real"):
            for name, shape in (("sum", (num_features,)), ("square", (num_features, num_features)), ("count", ())):
                self.add_state(f"{side}_{name}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, drawn_TSSC: np.ndarray, real_TSSC: np.ndarray) -> None:
        """Count the pictures of one clip."""
        for side, faces_TSSC in (("drawn", drawn_TSSC), ("real", real_TSSC)):
            pictures = area_of(torch.from_numpy(np.ascontiguousarray(faces_TSSC)).permute(0, 3, 1, 2), self.area)
            with torch.inference_mode():
                parts = [self.net(pictures[i : i + BATCH]).double().cpu() for i in range(0, len(pictures), BATCH)]
            features_ND = torch.cat(parts).flatten(1).clone()
            setattr(self, f"{side}_sum", getattr(self, f"{side}_sum") + features_ND.sum(0))
            setattr(self, f"{side}_square", getattr(self, f"{side}_square") + features_ND.T @ features_ND)
            setattr(self, f"{side}_count", getattr(self, f"{side}_count") + len(features_ND))

    def compute(self) -> Tensor:
        """A 0-d tensor; NaN with fewer than two pictures on a side."""
        means, spreads = [], []
        for side in ("drawn", "real"):
            total, square, count = (getattr(self, f"{side}_{name}") for name in ("sum", "square", "count"))
            if count < 2:
                return torch.tensor(torch.nan)
            mean = total / count
            means.append(mean)
            spreads.append((square - count * mean[:, None] * mean) / (count - 1))
        roots = torch.linalg.eigvals(spreads[0] @ spreads[1]).real.clamp_min(0).sqrt().sum()
        return (means[0] - means[1]).square().sum() + spreads[0].trace() + spreads[1].trace() - 2 * roots


class IdentitySimilarity(SumRatio):
    """Mean cosine of face embeddings, drawn and real."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real embeddings (N, D)."""
        drawn, real = (value / np.linalg.norm(value, axis=1, keepdims=True).clip(1e-9) for value in values)
        return float((drawn * real).sum()), len(drawn)
