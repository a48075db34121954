"""The measures as torchmetrics classes: they count clip by clip, and give the same number on any number of ranks.

Calling one returns the value of the clip and counts it; ``compute()`` is the value over all clips and ranks. Means and
ratios keep their numerators and denominators, so a long clip weighs more than a short one and the ratio of a nearly
still clip cannot outshout the others. NaN means that nothing could be counted. Shape suffixes: T frames, S side in
pixels, C colour, D embedding, N pictures, P points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from anchor.evaluation.measures import (
    Area,
    area_of,
    jitter_sums,
    landmark_jitter_sums,
    leak_sums,
    sharpness_sums,
    signed,
)
from anchor.metrics import correlation, ms_ssim, pair_accuracy, psnr, shift_curve, ssim

__all__ = [
    "L1",
    "ClipValues",
    "FrechetDistance",
    "IdentitySimilarity",
    "JitterRatio",
    "LandmarkDistance",
    "LandmarkJitterRatio",
    "LandmarkVelocity",
    "MeanCorrelation",
    "MeanValue",
    "MsSsim",
    "OpeningCorrelation",
    "PairAccuracy",
    "PerceptualDistance",
    "Psnr",
    "Share",
    "SharpnessRatio",
    "ShiftCurve",
    "SilenceLeak",
    "Ssim",
    "SumRatio",
    "Throughput",
]

BATCH = 64  # pictures that a network sees at once


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


class _Likeness(SumRatio):
    """The mean over pictures of a measure that gives one number a picture."""

    measure: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, area: Area = "mouth") -> None:
        super().__init__()
        self.area: Area = area

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real crops, uint8 (T, S, S, C)."""
        drawn, real = (area_of(signed(faces), self.area) for faces in values)
        return float(type(self).measure(drawn, real).sum()), len(drawn)


class Psnr(_Likeness):
    """dB, 60 at most."""

    measure = staticmethod(psnr)


class Ssim(_Likeness):
    """Needs areas of 11 px or more."""

    measure = staticmethod(ssim)


class MsSsim(_Likeness):
    """As many of the five scales as the area has room for."""

    measure = staticmethod(ms_ssim)


class L1(_Likeness):
    """Mean absolute difference of colours in [-1, 1]."""

    measure = staticmethod(lambda drawn, real: (drawn - real).abs().flatten(1).mean(1))


class SharpnessRatio(SumRatio):
    """Laplacian variance, drawn over real."""

    def __init__(self, area: Area = "mouth") -> None:
        super().__init__()
        self.area: Area = area

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real crops."""
        drawn, real = values
        return sharpness_sums(drawn, real, self.area)


class JitterRatio(SumRatio):
    """Second difference of the pixels, drawn over real; of chosen frames where a third array is given."""

    def __init__(self, area: Area = "mouth") -> None:
        super().__init__()
        self.area: Area = area

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real crops of successive frames."""
        drawn, real, *chosen = values
        return jitter_sums(drawn, real, self.area, *chosen)


class LandmarkJitterRatio(SumRatio):
    """Second difference of the mouth's points, drawn over real."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real points (T, P, 2)."""
        return landmark_jitter_sums(*values)


class LandmarkDistance(SumRatio):
    """How far the drawn mouth's points lie from the real ones, in distances of the eyes."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real points (T, P, 2); frames without landmarks are NaN."""
        distance_T = np.linalg.norm(values[0] - values[1], axis=-1).mean(-1)
        known_T = np.isfinite(distance_T)
        return float(distance_T[known_T].sum()), float(known_T.sum())


class LandmarkVelocity(LandmarkDistance):
    """The same of their movement from frame to frame."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real points (T, P, 2)."""
        return super().count(*(np.diff(points, axis=0) for points in values))


class SilenceLeak(SumRatio):
    """The share of silent frames in which the mouth is open, or moves."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of values (T,), the threshold, and which frames are silent (T,)."""
        return leak_sums(*values)


class IdentitySimilarity(SumRatio):
    """Mean cosine of face embeddings, drawn and real."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of drawn and real embeddings (N, D)."""
        drawn, real = (value / np.linalg.norm(value, axis=1, keepdims=True).clip(1e-9) for value in values)
        return float((drawn * real).sum()), len(drawn)


class Throughput(SumRatio):
    """Frames per second of one card."""


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


class MeanCorrelation(SumRatio):
    """Pearson's r of two series, a mean over clips."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of two series (T,)."""
        left, right = (torch.from_numpy(np.asarray(value, np.float64)) for value in values)
        return float(correlation(left, right)), 1.0


class MeanValue(SumRatio):
    """The mean of one number a clip."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of the number."""
        return float(values[0]), 1.0


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
