"""Does the expert know how sure it may be? Its softmax over candidate speeches, read as a probability.

Shape suffixes: T windows of a clip, D embedding, N windows of all clips.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["choices", "reliability"]

NUM_BINS = 10


def choices(face_TD: Tensor, speech_TD: Tensor, scale: float, min_shift: int, max_shift: int) -> tuple[Tensor, Tensor]:
    """``(confidence, is_right)`` of each window: its true speech among that shifted by so many frames.

    Confidence is the largest of the softmax over ``scale`` times the cosines; windows without a rival are left out.
    """
    cosine_TT = face_TD.float() @ speech_TD.float().T
    place = torch.arange(len(cosine_TT))
    distance = (place[:, None] - place).abs()
    offered = (distance == 0) | ((distance >= min_shift) & (distance <= max_shift))
    rivals = offered.sum(1) > 1
    chance_NT = (scale * cosine_TT).masked_fill(~offered, -math.inf)[rivals].softmax(1)
    confidence_N, choice_N = chance_NT.max(1)
    return confidence_N, choice_N == place[rivals]


def reliability(confidence_N: Tensor, is_right_N: Tensor) -> tuple[float, list[list[float]]]:
    """``(ECE, [[mean confidence, share right, count] of each bin that holds any])``.

    The expected calibration error of Naeini et al. 2015 (AAAI) over ten equal bins: 0 where a confidence of 0.8 is
    right eight times in ten.
    """
    bins_N = (confidence_N * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    rows: list[list[float]] = []
    error = 0.0
    for number in range(NUM_BINS):
        own_N = bins_N == number
        count = int(own_N.sum())
        if count:
            sure, right = float(confidence_N[own_N].mean()), float(is_right_N[own_N].float().mean())
            rows.append([round(sure, 4), round(right, 4), float(count)])
            error += count / len(bins_N) * abs(sure - right)
    return error, rows
