"""What is worth training on: shots, pose, alignment, limits, duplicates and the quota of silence, a module each."""

from anchor.preprocess.cleaning.limits import KINDS, Limits, Verdict, judge
from anchor.preprocess.cleaning.measures import SegmentMeasures
from anchor.preprocess.cleaning.shots import ShotFinder

__all__ = ["KINDS", "Limits", "SegmentMeasures", "ShotFinder", "Verdict", "judge"]
