"""Drawn crops beside real ones, uint8 (T, S, S, C) each.

Shape suffixes: T frames, S side in pixels, C colour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from anchor.evaluation.measures import Area, area_of, held_sums, jitter_sums, sharpness_sums, signed
from anchor.evaluation.meters.sums import SumRatio
from anchor.metrics import ms_ssim, psnr, ssim

__all__ = ["L1", "HeldShare", "JitterRatio", "MsSsim", "Psnr", "SharpnessRatio", "Ssim"]


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


class HeldShare(SumRatio):
    """Movement of the mouth with the speech of one moment held, over that with its own speech."""

    def count(self, *values: Any) -> tuple[float, float]:
        """Of crops drawn with held and with own speech, and the moment held at each frame (T,)."""
        return held_sums(*values)
