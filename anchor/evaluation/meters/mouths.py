"""Points of the mouth, and whether it rests.

Shape suffixes: T frames, P points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anchor.evaluation.measures import landmark_jitter_sums, leak_sums
from anchor.evaluation.meters.sums import SumRatio

__all__ = ["LandmarkDistance", "LandmarkJitterRatio", "LandmarkVelocity", "SilenceLeak"]


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
