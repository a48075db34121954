"""How well the sound explains the mouth at every shift, against sound that certainly does not belong to it.

At each shift the mouth's components are regressed on the sound's (ridge); the score is the share of the mouth that is
explained. It is not cross-validated: chance explains as much at any other shift, and that is what it is compared with.
The same sound, moved by more than a second around the ends of what was seen, or played backwards, has the clip's own
rhythm and spectrum, but says nothing about these lips. Shape suffixes: T frames, K components of the mouth, C of the
sound, D shifts.
"""

from __future__ import annotations

import numpy as np

__all__ = ["MAX_SHIFT", "score_shifts"]

MAX_SHIFT = 15  # frames searched on either side: +-600 ms
FAR = 25  # frames from where a shifted sound does not belong to the mouth any more
KERNEL = np.array([1, 2, 3, 2, 1]) / 9  # smooths the scores over shifts: a syllable lasts longer than a frame
RIDGE = 1.0  # x the variance of a component of the sound
MARGIN = MAX_SHIFT + len(KERNEL) // 2  # frames of sound needed on either side of a stretch


def score_shifts(mouths: list[np.ndarray], sounds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Score at each shift from -15 to +15 frames, and at every far shift, both in spreads of chance above its mean.

    ``mouths`` holds (T, K) of each stretch and ``sounds`` (T + 2 * MARGIN, C), with the sound around it. At a positive
    shift the sound comes after the mouth. The second array is the forward sound at far shifts, in circular order.
    """
    mouth_TK = np.concatenate(mouths)
    heard_TC = np.concatenate([sound[MARGIN : len(sound) - MARGIN] for sound in sounds])
    mean_C, spread_C = heard_TC.mean(0), heard_TC.std(0) + 1e-9
    sounds = [(sound - mean_C) / spread_C for sound in sounds]
    heard_TC = (heard_TC - mean_C) / spread_C
    total = len(heard_TC)
    square_CC = heard_TC.T @ heard_TC / total
    square_CC[np.diag_indices(len(square_CC))] += RIDGE
    whiten_CC = np.linalg.inv(np.linalg.cholesky(square_CC))
    shared_DCK = np.zeros((2 * MARGIN + 1, heard_TC.shape[1], mouth_TK.shape[1]))
    for mouth, sound in zip(mouths, sounds, strict=True):
        for place in range(2 * MARGIN + 1):
            shared_DCK[place] += sound[place : place + len(mouth)].T @ mouth
    scores_D = np.convolve(_explained(whiten_CC, shared_DCK / total), KERNEL, mode="valid")
    forwards_T = _around(whiten_CC, mouth_TK, heard_TC)
    backwards_T = _around(whiten_CC, mouth_TK, heard_TC[::-1])
    far = forwards_T[FAR : total - FAR]
    chance = np.concatenate([far, backwards_T])
    mean, spread = float(chance.mean()), float(chance.std()) + 1e-12
    return (scores_D - mean) / spread, (far - backwards_T.mean()) / (float(backwards_T.std()) + 1e-12)


def _explained(whiten_CC: np.ndarray, shared_DCK: np.ndarray) -> np.ndarray:
    return ((whiten_CC @ shared_DCK) ** 2).sum((1, 2))


def _around(whiten_CC: np.ndarray, mouth_TK: np.ndarray, sound_TC: np.ndarray) -> np.ndarray:
    """The smoothed score at every circular shift, (T,), one component of the mouth after the other."""
    total = len(mouth_TK)
    spectrum_FC = np.fft.rfft(sound_TC @ whiten_CC.T, axis=0)
    scores_T = np.zeros(total)
    for mouth_T in mouth_TK.T:
        product_FC = spectrum_FC * np.conj(np.fft.rfft(mouth_T))[:, None]
        scores_T += ((np.fft.irfft(product_FC, total, axis=0) / total) ** 2).sum(1)
    radius = len(KERNEL) // 2
    return np.convolve(np.pad(scores_T, radius, mode="wrap"), KERNEL, mode="valid")
