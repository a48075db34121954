"""The sound of a whole clip, measured in pieces: an hour of it must not need gigabytes."""

from __future__ import annotations

import numpy as np

from anchor.ops.mel import log_mel
from anchor.timing import HOP_LENGTH, NUM_MELS, SAMPLES_PER_FRAME

__all__ = ["frame_levels_db", "mel_in_pieces", "silence_share"]

PIECE_STEPS = 4800  # mel steps at once, a minute: 23 MB of spectrum
MARGIN_STEPS = 4  # 800 samples on either side: a whole window, so that no step feels where a piece ends
SILENCE_DB = -45.0  # a 40 ms frame below this level is silent, relative to full scale


def mel_in_pieces(samples: np.ndarray) -> np.ndarray:
    """``log_mel(samples)``, float32 (1 + len(samples) // 200, 80), to rounding."""
    steps = 1 + len(samples) // HOP_LENGTH
    if steps <= PIECE_STEPS:
        return log_mel(samples)
    mel_SM = np.empty((steps, NUM_MELS), np.float32)
    for start in range(0, steps, PIECE_STEPS):
        stop = min(start + PIECE_STEPS, steps)
        first, last = max(0, start - MARGIN_STEPS), min(stop + MARGIN_STEPS, steps)
        if steps - last < MARGIN_STEPS:  # the last piece ends as the whole ends
            last = steps
        end = len(samples) if last == steps else last * HOP_LENGTH
        piece = log_mel(samples[first * HOP_LENGTH : end])
        mel_SM[start:stop] = piece[start - first : stop - first]
    return mel_SM


def frame_levels_db(samples: np.ndarray) -> np.ndarray:
    """The level of every whole 40 ms frame, in dB relative to full scale: float64 (T,), -120 at least."""
    whole = samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    power = np.einsum("ts,ts->t", whole, whole, dtype=np.float64) / SAMPLES_PER_FRAME
    return 10 * np.log10(np.maximum(power, 1e-12))


def silence_share(samples: np.ndarray) -> float:
    """The share of frames that are silent, 1.0 where there is none."""
    levels_db = frame_levels_db(samples)
    return float((levels_db < SILENCE_DB).mean()) if len(levels_db) else 1.0
