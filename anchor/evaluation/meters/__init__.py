"""The measures as torchmetrics classes: they count clip by clip, and give the same number on any number of ranks.

Calling one returns the value of the clip and counts it; ``compute()`` is the value over all clips and ranks. Means and
ratios keep their numerators and denominators, so a long clip weighs more than a short one and the ratio of a nearly
still clip cannot outshout the others. NaN means that nothing could be counted.
"""

from anchor.evaluation.meters.clips import ClipValues, OpeningCorrelation
from anchor.evaluation.meters.mouths import LandmarkDistance, LandmarkJitterRatio, LandmarkVelocity, SilenceLeak
from anchor.evaluation.meters.networks import FrechetDistance, IdentitySimilarity, PerceptualDistance
from anchor.evaluation.meters.pictures import L1, HeldShare, JitterRatio, MsSsim, Psnr, SharpnessRatio, Ssim
from anchor.evaluation.meters.sums import MeanCorrelation, MeanValue, Share, SumRatio, Throughput
from anchor.evaluation.meters.sync import PairAccuracy, ShiftCurve

__all__ = [
    "L1",
    "ClipValues",
    "FrechetDistance",
    "HeldShare",
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
