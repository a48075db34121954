"""Which picture of a face is posed as another one is, so that skin and mouth lie where they are to be drawn.

Shape suffixes: S side of the crop in pixels, C colour (RGB), T frames of one face, P numbers of a pose, K candidates.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["EVERY", "nearest_in_pose", "pose_vector"]

THUMB = 48  # px, side of the crop where poses are compared
UPPER = slice(4, 26)  # its rows from the forehead to the nose: the mouth must have no say
MIN_AWAY = 13  # frames, 0.5 s: a nearer reference shows the mouth that is to be replaced
EVERY = 5  # frames from one candidate to the next
TOO_NEAR = 4.0  # cost of a candidate within MIN_AWAY; two unrelated poses differ by 2
SWITCH = (
    2.0  # cost of changing the reference: fewer changes, less of their mouths in the drawn one (.15: r .797, 2: .823)
)


def pose_vector(crop_SSC: np.ndarray) -> np.ndarray:
    """float32 (P,): the upper half of a face in small, in grey, with mean 0 and deviation 1 whatever the light."""
    small = cv2.resize(crop_SSC, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)[UPPER]
    return ((grey - grey.mean()) / (grey.std() + 1e-3)).ravel()


def nearest_in_pose(poses_TP: np.ndarray) -> np.ndarray:
    """int64 (T,): for every frame the frame to take as its reference, one of every fifth, at least 0.5 s away.

    The sequence with the least sum of pose differences (mean squared) and switches (Viterbi 1967), so that the
    reference changes where the head has turned and not from frame to frame. Where all frames are within 0.5 s the most
    alike is taken all the same.
    """
    candidates_K = np.arange(0, len(poses_TP), EVERY)
    squares_T = (poses_TP**2).mean(1)
    cost_TK = squares_T[:, None] + squares_T[candidates_K] - 2 * poses_TP @ poses_TP[candidates_K].T / poses_TP.shape[1]
    away_TK = np.abs(np.arange(len(poses_TP))[:, None] - candidates_K)
    cost_TK[away_TK < MIN_AWAY] += TOO_NEAR
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
    return candidates_K[chosen]
