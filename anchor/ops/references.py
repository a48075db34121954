"""Which picture of a face tells the generator how this person looks: one rule, for training, evaluation and inference.

Near in pose: skin and mouth then lie where they are to be drawn. Far in the shape of the mouth: copying it must not
pay. Never the target itself nor its neighbours, which show the very mouth that is to be drawn.

Shape suffixes: S side of the crop in pixels, C colour (RGB), T frames of one face, P numbers of a pose, Q numbers of a
mouth, K candidates, R references.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = [
    "EVERY",
    "MIN_AWAY",
    "best_references",
    "lay_references",
    "mouth_vector",
    "nearest_in_pose",
    "pose_vector",
]

THUMB = 48  # px, side of the crop where poses are compared
UPPER = slice(4, 26)  # its rows from the forehead to the nose: the mouth must have no say
MOUTH = (slice(29, 44), slice(12, 36))  # of it; 0.6 to 0.92 of the height, the middle half of the width
MIN_AWAY = 13  # frames, 0.5 s: a nearer reference shows the mouth that is to be replaced
EVERY = 5  # frames from one candidate to the next
TOO_NEAR = 4.0  # cost of a candidate within MIN_AWAY; two unrelated poses differ by 2
MOUTH_SHARE = 0.25  # of the mouths' difference that is taken off the poses': a turned head matters more
SWITCH = 2.0  # cost of changing the reference; by pose alone .15 gave an opening r of .797 and 2 of .823


def pose_vector(crop_SSC: np.ndarray) -> np.ndarray:
    """float32 (P,): the upper half of a face in small, in grey, with mean 0 and deviation 1 whatever the light."""
    return _standard(_thumb(crop_SSC)[UPPER])


def mouth_vector(crop_SSC: np.ndarray) -> np.ndarray:
    """float32 (Q,): the mouth's box in small, as :func:`pose_vector` has the upper half."""
    return _standard(_thumb(crop_SSC)[MOUTH])


def best_references(target_SSC: np.ndarray, candidates_KSSC: np.ndarray, count: int = 1) -> np.ndarray:
    """int64 (R,): the ``count`` candidates that serve the target best, the best first; with fewer, some come twice.

    Near in pose, far in mouth. Who gives the candidates keeps them away from the target in time.
    """
    poses_KP = np.stack([pose_vector(crop) for crop in candidates_KSSC])
    mouths_KQ = np.stack([mouth_vector(crop) for crop in candidates_KSSC])
    cost_K = _cost(pose_vector(target_SSC)[None], poses_KP, mouth_vector(target_SSC)[None], mouths_KQ)[0]
    return np.resize(np.argsort(cost_K, kind="stable"), count)


def lay_references(crops_KSSC: np.ndarray, numbers_NR: np.ndarray) -> np.ndarray:
    """uint8 (N, S, S, 3 R): for each of N frames its references out of ``crops_KSSC``, one behind the other."""
    chosen_NRSSC = crops_KSSC[np.asarray(numbers_NR)]
    N, R, S = chosen_NRSSC.shape[:3]
    return chosen_NRSSC.transpose(0, 2, 3, 1, 4).reshape(N, S, S, 3 * R)


def nearest_in_pose(poses_TP: np.ndarray, mouths_TQ: np.ndarray | None = None, count: int = 1) -> np.ndarray:
    """int64 (T, R): for every frame the frames to take as its references, of every fifth, at least 0.5 s away.

    Each is the sequence with the least sum of costs (the difference of poses, mean squared, less a share of that of
    mouths where they are given) and switches (Viterbi 1967), so that a reference changes where the head has turned and
    not from frame to frame. The second and further ones avoid what the ones before them took. Where all frames are
    within 0.5 s the best is taken all the same.
    """
    candidates_K = np.arange(0, len(poses_TP), EVERY)
    mouths_KQ = None if mouths_TQ is None else mouths_TQ[candidates_K]
    cost_TK = _cost(poses_TP, poses_TP[candidates_K], mouths_TQ, mouths_KQ)
    away_TK = np.abs(np.arange(len(poses_TP))[:, None] - candidates_K)
    cost_TK[away_TK < MIN_AWAY] += TOO_NEAR
    chosen_TR = np.empty((len(cost_TK), count), np.int64)
    for r in range(count):
        chosen_TR[:, r] = _cheapest_road(cost_TK)
        cost_TK[np.arange(len(cost_TK)), chosen_TR[:, r]] += TOO_NEAR
    return candidates_K[chosen_TR]


def _cheapest_road(cost_TK: np.ndarray) -> np.ndarray:
    """int64 (T,): the candidate of each frame, with the least sum of costs and switches."""
    came_from = np.zeros(cost_TK.shape, np.int64)
    total_K = cost_TK[0].copy()
    for t in range(1, len(cost_TK)):
        best = int(total_K.argmin())
        stays_K = total_K <= total_K[best] + SWITCH
        came_from[t] = np.where(stays_K, np.arange(len(total_K)), best)
        total_K = np.where(stays_K, total_K, total_K[best] + SWITCH) + cost_TK[t]
    chosen = np.empty(len(cost_TK), np.int64)
    chosen[-1] = total_K.argmin()
    for t in range(len(cost_TK) - 1, 0, -1):
        chosen[t - 1] = came_from[t, chosen[t]]
    return chosen


def _cost(
    poses_TP: np.ndarray, poses_KP: np.ndarray, mouths_TQ: np.ndarray | None, mouths_KQ: np.ndarray | None
) -> np.ndarray:
    """(T, K): what it costs to show a candidate for a target; 0 for the same pose, less where the mouths differ."""
    cost_TK = _differences(poses_TP, poses_KP)
    if mouths_TQ is not None and mouths_KQ is not None:
        cost_TK = cost_TK - MOUTH_SHARE * _differences(mouths_TQ, mouths_KQ)
    return cost_TK


def _differences(left_TD: np.ndarray, right_KD: np.ndarray) -> np.ndarray:
    """(T, K): mean squared differences."""
    products_TK = left_TD @ right_KD.T / left_TD.shape[1]
    return (left_TD**2).mean(1)[:, None] + (right_KD**2).mean(1) - 2 * products_TK


def _thumb(crop_SSC: np.ndarray) -> np.ndarray:
    small = cv2.resize(crop_SSC, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _standard(grey: np.ndarray) -> np.ndarray:
    return ((grey - grey.mean()) / (grey.std() + 1e-3)).ravel()
