"""Where a speech is silent, read from its log-mel: whole pauses, not the gaps between sounds.

Shape suffixes: M mel bins; mel_SM: S mel steps; T frames.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from anchor.errors import ConfigError
from anchor.timing import FPS, MEL_FLOOR, MEL_STEPS_PER_SECOND, mel_span

__all__ = ["MIN_PAUSE_S", "SilenceKind", "close_pauses", "floor_frames", "quiet_steps", "silent_frames", "with_silence"]

SilenceKind = Literal["close", "heard"]

BELOW = 2.0  # mel units below the loud steps, 25 dB: a fifth of a lively minute, half of drawn clips with pauses
LEAST_LOUD = -1.0  # mel units: where nothing is louder there is no speech at all, whatever the loudest step is
MIN_PAUSE_S = 0.3  # a shorter gap is a stop consonant or a breath between words: the mouth goes on to the next sound
LEAD_S = 0.08  # s at either end of a pause that keep their sound: lips part before a sound and close after it


def quiet_steps(mel_SM: np.ndarray) -> np.ndarray:
    """Bool (S,): mel steps far below what is loud in this recording."""
    loudness_S = mel_SM.mean(1)
    loud = np.percentile(loudness_S, 95) if len(loudness_S) else LEAST_LOUD
    return loudness_S < max(float(loud), LEAST_LOUD) - BELOW


def silent_frames(mel_SM: np.ndarray, num_frames: int) -> np.ndarray:
    """Bool (T,): frames whose own mel window of 0.2 s is quiet from end to end; outside the recording is quiet too."""
    noise_S = np.concatenate([[0], np.cumsum(~quiet_steps(mel_SM))])
    spans = np.array([mel_span(frame) for frame in range(num_frames)]).reshape(-1, 2).clip(0, len(mel_SM))
    return noise_S[spans[:, 1]] == noise_S[spans[:, 0]]


def floor_frames(mel_SM: np.ndarray, num_frames: int) -> np.ndarray:
    """Bool (T,): frames during whose own 40 ms there is nothing at all; beyond the recording there is not."""
    sound_S = np.concatenate([[0], np.cumsum((mel_SM > MEL_FLOOR).any(1))])
    edges = np.clip(np.arange(num_frames + 1) * MEL_STEPS_PER_SECOND // FPS, 0, len(mel_SM))
    return sound_S[edges[1:]] == sound_S[edges[:-1]]


def close_pauses(mel_SM: np.ndarray, min_s: float = MIN_PAUSE_S) -> np.ndarray:
    """The speech with pauses of ``min_s`` and more made digitally silent, float32 (steps, M).

    What is left of a room in a pause is no speech, and a generator that hears it may move its mouth to it.
    """
    closed_SM = np.array(mel_SM, np.float32)
    lead = round(LEAD_S * MEL_STEPS_PER_SECOND)
    edges = np.flatnonzero(np.diff(np.pad(quiet_steps(mel_SM).astype(np.int8), 1))).reshape(-1, 2)
    for start, stop in edges:
        if stop - start < min_s * MEL_STEPS_PER_SECOND:
            continue
        first = start + lead if start else start
        last = stop - lead if stop < len(closed_SM) else stop
        closed_SM[first:last] = MEL_FLOOR
    return closed_SM


def with_silence(mel_SM: np.ndarray, kind: SilenceKind) -> np.ndarray:
    """What a generator is to hear of a speech: its pauses closed (``close``), or as they are recorded (``heard``).

    Raises:
        ConfigError: another ``kind``.
    """
    if kind not in get_args(SilenceKind):
        raise ConfigError(f"silence={kind} is no choice. Choose one of {', '.join(get_args(SilenceKind))}.")
    return close_pauses(mel_SM) if kind == "close" else mel_SM
