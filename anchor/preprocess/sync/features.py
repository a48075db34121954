"""Mouth and sound as a few numbers per frame, on one clock, with slow changes taken away.

A head that turns and a room that is loud change slowly; syllables do not. Shape suffixes: T frames, D pixels of the
small mouth, K components of the mouth, S mel steps, M mel bins, C cosines of the spectrum.
"""

from __future__ import annotations

import numpy as np

from anchor.preprocess.sync.mouth import Stretch
from anchor.timing import FPS, MEL_FLOOR, MEL_STEPS_PER_SECOND, NUM_MELS

__all__ = ["NUM_COSINES", "level_facts", "mouth_components", "sound_components"]

NUM_COMPONENTS = 12  # of the mouth; 8 to 20 measure alike
NUM_COSINES = 6  # of the spectrum: its level, its tilt and four wider shapes; 6 to 8 measure alike, 13 worse
TREND = 10.0  # frames, the spread of the Gaussian that follows slow changes
ROOT = (
    0.2  # power of the amplitude: between the logarithm, which hears all noise, and the amplitude, which hears shouts
)
UNIT_DB = 12.5  # of the log-mel
SILENCE_DB = 35.0  # below the loudest frames
STEPS_PER_FRAME = MEL_STEPS_PER_SECOND / FPS  # 3.2


def mouth_components(stretches: list[Stretch]) -> tuple[list[np.ndarray], float]:
    """The principal components of the mouth in each stretch, (T, K), and how much it moves.

    A component's spread is the root of its own: lips fill the first few, but not them alone. The movement is the root
    mean square of the pixels' deviation from their trend, in spreads of the upper face.
    """
    moves = [stretch.mouth - _trend(stretch.mouth) for stretch in stretches]
    every_TD = np.concatenate(moves)
    every_TD = every_TD - every_TD.mean(0)
    values_D, vectors_DD = np.linalg.eigh(every_TD.T @ every_TD / len(every_TD))
    order = np.argsort(values_D)[::-1][:NUM_COMPONENTS]
    spreads_K = np.sqrt(np.maximum(values_D[order], 1e-12))
    weights_K = np.sqrt(spreads_K / spreads_K.sum()) / spreads_K
    components_TK = every_TD @ vectors_DD[:, order] * weights_K
    ends = np.cumsum([len(move) for move in moves])[:-1]
    return np.split(components_TK, ends), float(np.sqrt((every_TD**2).mean()))


def sound_components(mel_SM: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The spectrum heard during frames ``[start, stop)``, which may lie beyond the clip: float64 (T, C).

    Frame ``i`` is heard from ``i / 25`` to ``(i + 1) / 25`` s; step ``s`` of the mel is centred on ``s / 80`` s.
    """
    edges_s = np.arange(start, stop + 1) * STEPS_PER_FRAME + 0.5
    first, last = max(0, int(edges_s[0]) - 1), max(1, min(len(mel_SM), int(edges_s[-1]) + 2))
    first = min(first, last - 1)
    loud_SM = _loudness(mel_SM[first:last])
    edges_s -= first
    sums = np.concatenate([np.zeros((1, NUM_MELS)), np.cumsum(loud_SM, 0, dtype=np.float64)])
    inside = np.clip(edges_s, 0, len(loud_SM))
    whole = np.minimum(inside.astype(int), len(loud_SM) - 1)
    at_edges = sums[whole] + (inside - whole)[:, None] * (sums[whole + 1] - sums[whole])
    outside = (np.diff(edges_s) - np.diff(inside))[:, None]
    mean_TM = (np.diff(at_edges, axis=0) + outside * _loudness(np.array(MEL_FLOOR))) / STEPS_PER_FRAME
    bins = np.arange(NUM_MELS)
    cosines_MC = np.cos(np.pi / NUM_MELS * (bins[:, None] + 0.5) * np.arange(NUM_COSINES))
    sound_TC = mean_TM @ cosines_MC / NUM_MELS
    return sound_TC - _trend(sound_TC)


def level_facts(mel_SM: np.ndarray, stretches: list[Stretch]) -> tuple[float, int]:
    """The sound while the face is seen: the standard deviation of its level in dB, and how many frames are not silent.

    A frame is silent where it is 35 dB below the loudest fiftieth of the frames, or at the floor of the mel.
    """
    steps = [np.arange(stretch.start, stretch.start + len(stretch.mouth)) * STEPS_PER_FRAME for stretch in stretches]
    numbers = np.concatenate(steps).astype(int)
    level_T = np.full(len(numbers), MEL_FLOOR)
    is_inside_T = (numbers >= 0) & (numbers < len(mel_SM))
    level_T[is_inside_T] = mel_SM[numbers[is_inside_T]].mean(1, dtype=np.float64)
    floor = max(float(np.percentile(level_T, 98)) - SILENCE_DB / UNIT_DB, MEL_FLOOR + 0.1)
    return UNIT_DB * float(level_T.std()), int((level_T > floor).sum())


def _loudness(mel: np.ndarray) -> np.ndarray:
    return 10.0 ** (ROOT * UNIT_DB / 20 * np.asarray(mel, np.float64))


def _trend(values_TD: np.ndarray) -> np.ndarray:
    """Zero-phase Gaussian mean over time; beyond the ends the values are mirrored."""
    total = len(values_TD)
    radius = min(int(3 * TREND), total - 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / TREND) ** 2)
    padded = np.pad(values_TD, ((radius, radius), (0, 0)), mode="reflect")
    size = len(padded) + len(kernel)
    product = np.fft.rfft(padded, size, axis=0) * np.fft.rfft(kernel / kernel.sum(), size)[:, None]
    return np.fft.irfft(product, size, axis=0)[2 * radius : 2 * radius + total]
