"""The referee: does the speech explain this mouth, and best at the moment it is heard? It needs no network.

A ridge regression goes from the sound's spectrum to the mouth's shape (principal components of its pixels, or
landmarks), for the speech shifted by -15 to +15 frames. It learns on some seconds and is asked about others
(cross-validated), so a shift earns only what holds beyond what was learnt. Nothing in it was trained before, and no
generator was ever taught to please it: that is why it stands beside the expert's opinion. The sound's features and the
mouth's come from :mod:`anchor.preprocess.sync`, which finds the offset of raw material with them.
Shape suffixes: T frames, K components of the mouth, C of the sound, D shifts, S side in pixels; mel_SM: S mel steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anchor.preprocess.sync.curve import KERNEL, MARGIN, MAX_SHIFT, RIDGE
from anchor.preprocess.sync.features import mouth_components, sound_components
from anchor.preprocess.sync.mouth import MIN_SIDE, MIN_STRETCH, MouthLog, Stretch

__all__ = ["Seen", "Verdict", "ask_referee", "see_landmarks", "see_mouth"]

FOLDS = 5
GAP = 5  # frames between what is learnt and what is asked: neighbours are alike
FAR_SHIFT = 5  # frames from where a shift is another moment


@dataclass(frozen=True)
class Seen:
    """A mouth over time, with the speech that it is said to speak."""

    stretches: list[Stretch]  # their ``start`` counts frames of the speech
    mel_SM: np.ndarray

    @property
    def num_frames(self) -> int:
        """Frames that the referee can use."""
        return sum(len(stretch.mouth) for stretch in self.stretches)


@dataclass(frozen=True)
class Verdict:
    """What the referee says. Shares are of the mouth's movement, explained on seconds that were not learnt from."""

    frames: int
    offset_frames: int  # the shift that explains most; above 0 the sound is late
    at_true: float  # share explained where the speech is heard (the best of -1, 0 and 1 frame)
    at_shifted: float  # the most that speech shifted by 5 frames or more explains
    curve: tuple[float, ...]  # by shift, -15..15

    @property
    def margin(self) -> float:
        """By how much the true moment explains more than any other."""
        return self.at_true - self.at_shifted

    @property
    def prefers_true(self) -> bool:
        """Whether the mouth fits its true speech better than shifted speech."""
        return self.margin > 0 and self.at_true > 0


def see_mouth(faces_TSSC: np.ndarray, mel_SM: np.ndarray, first_frame: int = 0) -> Seen:
    """Successive uint8 RGB crops, and the speech; the first crop is shown with its frame ``first_frame``."""
    log = MouthLog(len(faces_TSSC))
    for number, face in enumerate(faces_TSSC):
        if face.shape[0] < MIN_SIDE:
            face = cv2.resize(face, (MIN_SIDE, MIN_SIDE), interpolation=cv2.INTER_CUBIC)
        log.add(number, face)
    return Seen([Stretch(one.start + first_frame, one.mouth) for one in log.stretches()], mel_SM)


def see_landmarks(points_TN2: np.ndarray, mel_SM: np.ndarray, first_frame: int = 0) -> Seen:
    """The same from the mouth's points; frames without landmarks (NaN) end a stretch."""
    flat_TD = points_TN2.reshape(len(points_TN2), -1).astype(np.float32)
    known_T = np.isfinite(flat_TD).all(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known_T.astype(int), [0]])))
    stretches = [
        Stretch(first_frame + a, flat_TD[a:b])
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if b - a >= MIN_STRETCH
    ]
    return Seen(stretches, mel_SM)


def ask_referee(seen: Sequence[Seen]) -> Verdict | None:
    """The verdict on clips of one person together; None where they hold less than two seconds of face."""
    pairs = [(stretch, one.mel_SM) for one in seen for stretch in one.stretches]
    total = sum(len(stretch.mouth) for stretch, _ in pairs)
    if total < 2 * MIN_STRETCH:
        return None
    mouths, _ = mouth_components([stretch for stretch, _ in pairs])
    sounds = [
        sound_components(mel_SM, stretch.start - MARGIN, stretch.start + len(stretch.mouth) + MARGIN)
        for stretch, mel_SM in pairs
    ]
    curve_D = np.convolve(_held_out_shares(mouths, sounds), KERNEL, mode="valid")
    far = np.abs(np.arange(-MAX_SHIFT, MAX_SHIFT + 1)) >= FAR_SHIFT
    return Verdict(
        frames=total,
        offset_frames=int(curve_D.argmax()) - MAX_SHIFT,
        at_true=float(curve_D[MAX_SHIFT - 1 : MAX_SHIFT + 2].max()),
        at_shifted=float(curve_D[far].max()),
        curve=tuple(round(float(value), 5) for value in curve_D),
    )


def _held_out_shares(mouths: list[np.ndarray], sounds: list[np.ndarray]) -> np.ndarray:
    """The share of the mouth explained at each of the 2 * MARGIN + 1 shifts, on the folds left out."""
    mouth_TK = np.concatenate(mouths)
    mouth_TK = mouth_TK - mouth_TK.mean(0)
    total = len(mouth_TK)
    place_T = np.arange(total)
    fold_T = place_T * FOLDS // total
    shares = []
    for shift in range(2 * MARGIN + 1):
        heard_TC = np.concatenate(
            [sound[shift : shift + len(mouth)] for mouth, sound in zip(mouths, sounds, strict=True)]
        )
        heard_TC = (heard_TC - heard_TC.mean(0)) / (heard_TC.std(0) + 1e-9)
        error = 0.0
        for fold in range(FOLDS):
            asked = fold_T == fold
            first, last = place_T[asked][[0, -1]]
            learnt = (place_T < first - GAP) | (place_T > last + GAP)
            x_NC, y_NK = heard_TC[learnt], mouth_TK[learnt]
            square_CC = x_NC.T @ x_NC + RIDGE * learnt.sum() * np.eye(x_NC.shape[1])
            weights_CK = np.linalg.solve(square_CC, x_NC.T @ y_NK)
            error += float(((mouth_TK[asked] - heard_TC[asked] @ weights_CK) ** 2).sum())
        shares.append(1 - error / float((mouth_TK**2).sum()))
    return np.array(shares)
