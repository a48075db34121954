"""The worst seconds: where a drawn face is least like the real one, trembles, blurs or speaks in silence, and why.

Shape suffixes: T frames, S side in pixels, C colour (RGB).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchor.evaluation.drawing import Drawn
from anchor.evaluation.measures import mouth_psnr, pixel_jitter_ratio, pixel_motion, sharpness_ratio, silent_frames
from anchor.timing import FPS

__all__ = ["Failure", "cut_windows", "find_worst"]

WINDOW = FPS  # frames, one second
SHOWN = 5  # frames of it in the gallery

# name: the sentence with its value, whether more is worse, and the value from where it is a fault at all
CRITERIA = {
    "psnr": ("unlike the real mouth: {:.1f} dB", False, 100.0),
    "jitter": ("trembles: second difference x {:.2f} of the real one", True, 1.25),
    "stiff": ("hardly moves: second difference x {:.2f} of the real one", False, 0.8),
    "blur": ("blurred: sharpness x {:.2f} of the real one", False, 0.8),
    "silence": ("moves in silence: {:.2f} x the real motion of the clip", True, 0.5),
}


@dataclass
class Failure:
    """One second of a clip with its numbers; pictures are real over drawn."""

    key: str
    first_frame: int
    values: dict[str, float]
    rows: list[list[np.ndarray]]  # real, drawn
    why: str = ""
    badness: float = 0.0  # in robust spreads from the median of all windows


def cut_windows(drawn: Drawn) -> list[Failure]:
    """Every second of a clip that was drawn with its own speech, with the numbers by which it is judged."""
    real, own = drawn.face.faces_TSSC, drawn.own_TSSC
    pauses_T = silent_frames(drawn.face.mel_SM, len(real))
    motion_T, usual = pixel_motion(own), float(np.median(pixel_motion(real))) + 1e-6
    windows = []
    for first in range(0, len(real) - WINDOW + 1, WINDOW):
        part = slice(first, first + WINDOW)
        jitter = pixel_jitter_ratio(own[part], real[part])
        values = {
            "psnr": mouth_psnr(own[part], real[part]),
            "jitter": jitter,
            "stiff": jitter,
            "blur": sharpness_ratio(own[part], real[part]),
        }
        if pauses_T[part].sum() >= WINDOW // 2:
            values["silence"] = float(motion_T[part][pauses_T[part]].mean()) / usual
        shown = np.linspace(first, first + WINDOW - 1, SHOWN).round().astype(int)
        rows = [list(real[shown]), list(own[shown])]
        windows.append(Failure(drawn.face.key, first, {k: v for k, v in values.items() if np.isfinite(v)}, rows))
    return windows


def find_worst(windows: list[Failure], count: int) -> list[Failure]:
    """The ``count`` worst, each with the reason that stands out most against all windows, worst first."""
    for window in windows:
        window.badness, window.why = 0.0, ""
    for name, (sentence, more_is_worse, fault) in CRITERIA.items():
        known = [window for window in windows if name in window.values]
        if len(known) < 2:
            continue
        values = np.array([window.values[name] for window in known])
        if name in ("jitter", "stiff", "blur"):
            values = np.log(np.maximum(values, 1e-3))
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle))) + 1e-3
        for window, value in zip(known, values, strict=True):
            away = (value - middle) / spread * (1 if more_is_worse else -1)
            is_fault = window.values[name] > fault if more_is_worse else window.values[name] < fault
            if is_fault and (away > window.badness or not window.why):
                window.badness, window.why = float(away), sentence.format(window.values[name])
    return sorted(windows, key=lambda window: -window.badness)[:count]
