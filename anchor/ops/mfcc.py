"""Cepstra as the original SyncNet hears them: the definition of python_speech_features' ``mfcc`` with its defaults.

Frames of 25 ms every 10 ms without a window, a power spectrum of 512 points, 26 triangular filters on the mel scale of
HTK from 0 to 8000 Hz, the logarithm, 13 cosines, a sine lifter of 22, and the log energy in the first place. It is not
the log-mel of our own networks. Shape suffixes: L samples, F frames of 10 ms, B bins of the spectrum, K filters.
"""

from __future__ import annotations

import numpy as np

from anchor.timing import SAMPLE_RATE

__all__ = ["MFCC_STEPS_PER_SECOND", "NUM_CEPSTRA", "mfcc"]

MFCC_STEPS_PER_SECOND = 100
NUM_CEPSTRA = 13
WINDOW, STEP, POINTS, NUM_FILTERS = 400, 160, 512, 26  # samples, samples, points of the spectrum, filters
PREEMPHASIS, LIFTER = 0.97, 22
FULL_SCALE = 32768.0  # the original reads 16-bit samples


def mfcc(samples_L: np.ndarray) -> np.ndarray:
    """float64 (F, 13) of 16 kHz speech in [-1, 1]; the last frame is filled with zeros."""
    sound_L = np.asarray(samples_L, np.float64) * FULL_SCALE
    sound_L = np.concatenate([sound_L[:1], sound_L[1:] - PREEMPHASIS * sound_L[:-1]])
    count = 1 if len(sound_L) <= WINDOW else 1 + -(-(len(sound_L) - WINDOW) // STEP)
    padded_L = np.pad(sound_L, (0, max(0, (count - 1) * STEP + WINDOW - len(sound_L))))
    frames_FL = np.lib.stride_tricks.sliding_window_view(padded_L, WINDOW)[::STEP][:count]
    power_FB = np.abs(np.fft.rfft(frames_FL, POINTS)) ** 2 / POINTS
    tiny = np.finfo(float).eps
    energy_F = power_FB.sum(1)
    heard_FK = power_FB @ _filters().T
    logs_FK = np.log(np.where(heard_FK == 0, tiny, heard_FK))
    place = np.arange(NUM_CEPSTRA)
    cosines_CK = np.cos(np.pi / NUM_FILTERS * place[:, None] * (np.arange(NUM_FILTERS) + 0.5))
    cosines_CK *= np.sqrt(2 / NUM_FILTERS)
    cosines_CK[0] /= np.sqrt(2)
    cepstra_FC = logs_FK @ cosines_CK.T * (1 + LIFTER / 2 * np.sin(np.pi * place / LIFTER))
    cepstra_FC[:, 0] = np.log(np.where(energy_F == 0, tiny, energy_F))
    return cepstra_FC


def _filters() -> np.ndarray:
    """The triangles (K, B)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, NUM_FILTERS + 2) / 2595) - 1)
    edges = np.floor((POINTS + 1) * hertz / SAMPLE_RATE).astype(int)
    filters_KB = np.zeros((NUM_FILTERS, POINTS // 2 + 1))
    for number in range(NUM_FILTERS):
        left, middle, right = edges[number : number + 3]
        filters_KB[number, left:middle] = (np.arange(left, middle) - left) / (middle - left)
        filters_KB[number, middle:right] = (right - np.arange(middle, right)) / (right - middle)
    return filters_KB
