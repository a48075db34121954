"""What a renderer knows of a clip, cut to a segment of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from anchor.preprocess.segments import Segment
from anchor.timing import FPS

__all__ = ["cut_truth"]


def cut_truth(truth: dict[str, Any], segment: Segment) -> dict[str, Any]:
    """The part of the truth that belongs to ``segment``, at 25 fps and with times from its start.

    Lists with one entry per frame are cut and, where the clip was rendered at another rate, resampled as the pictures
    are; "phonemes" ([name, seconds]) are moved; the rest is kept.
    """
    rate, count = float(truth.get("fps", FPS)), len(truth.get("opening", ()))
    numbers = np.floor((np.arange(segment.start, segment.stop) + 0.5) * rate / FPS + 1e-6).astype(int)
    numbers = np.clip(numbers, 0, max(0, count - 1))
    start_s, stop_s = segment.start / FPS, segment.stop / FPS
    cut: dict[str, Any] = {}
    for name, value in truth.items():
        if name == "phonemes":
            cut[name] = [[sound, round(at - start_s, 4)] for sound, at in value if start_s <= at < stop_s]
        elif isinstance(value, list) and len(value) == count > 0:
            cut[name] = [value[number] for number in numbers]
        elif name not in ("num_frames", "cut_frames"):  # these count frames of the whole clip
            cut[name] = value
    return {**cut, "fps": FPS} if "fps" in cut else cut
