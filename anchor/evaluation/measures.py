"""One number for a drawn face beside the real one: sharpness, likeness, trembling, and what a silent mouth does.

Everything takes uint8 RGB crops of successive frames, drawn and real, of one size. What is a ratio is returned by
``..._sums`` as numerator and denominator, to be summed over clips and ranks before it is divided. Shape suffixes: T
frames, S side of the crops in pixels, C colour (RGB), H W pixels; mel_SM: S mel steps, M mel bins.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anchor.metrics import SSIM_WINDOW as SSIM_SIDE
from anchor.metrics import jitter, laplacian_variance, psnr
from anchor.ops.images import lower_half, mouth_weights, to_signed
from anchor.timing import FPS, MEL_FLOOR, MEL_STEPS_PER_SECOND

__all__ = [
    "SSIM_SIDE",
    "Area",
    "area_of",
    "held_sums",
    "jitter_sums",
    "landmark_jitter_sums",
    "leak_sums",
    "mouth_box",
    "mouth_psnr",
    "open_threshold",
    "pixel_jitter_ratio",
    "pixel_motion",
    "sharpness_ratio",
    "sharpness_sums",
    "signed",
    "silent_frames",
]

Area = Literal["mouth", "lower", "upper", "face"]

UNIT_DB = 12.5  # of the log-mel
SILENCE_DB = 35.0  # below the loudest frames
SETTLE_FRAMES = 5  # 0.2 s: a mouth may close so long after the last sound, and open so long before the next
OPEN_SHARE = 0.3  # of a person's own range of openings, from where a mouth is called open


def signed(faces_TSSC: np.ndarray) -> Tensor:
    """uint8 pictures as floats (T, C, H, W) in [-1, 1]."""
    return to_signed(torch.from_numpy(np.ascontiguousarray(faces_TSSC)).permute(0, 3, 1, 2))


def mouth_box(face_CHW: Tensor) -> Tensor:
    """The box around the mouth (..., C, h, w) that the training losses weigh most."""
    weights_hW = mouth_weights(face_CHW.shape[-1], 2.0)
    heavy = weights_hW == weights_hW.max()
    rows, columns = heavy.any(1).nonzero().flatten(), heavy.any(0).nonzero().flatten()
    return lower_half(face_CHW)[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def area_of(face_CHW: Tensor, area: Area) -> Tensor:
    """The mouth's box, the lower half (what is drawn), the upper half (what is not), or the whole face."""
    if area == "mouth":
        return mouth_box(face_CHW)
    if area == "lower":
        return lower_half(face_CHW)
    return face_CHW[..., : face_CHW.shape[-2] // 2, :] if area == "upper" else face_CHW


def mouth_psnr(drawn_TSSC: np.ndarray, real_TSSC: np.ndarray) -> float:
    """Peak signal-to-noise ratio of the mouth's box in dB, a mean over frames; 60 dB at most."""
    return float(psnr(mouth_box(signed(drawn_TSSC)), mouth_box(signed(real_TSSC))).mean())


def sharpness_sums(drawn_TSSC: np.ndarray, real_TSSC: np.ndarray, area: Area = "mouth") -> tuple[float, float]:
    """Laplacian variance summed over the frames, drawn and real."""
    drawn, real = (laplacian_variance(area_of(signed(faces), area)).sum() for faces in (drawn_TSSC, real_TSSC))
    return float(drawn), float(real)


def sharpness_ratio(drawn_TSSC: np.ndarray, real_TSSC: np.ndarray, area: Area = "mouth") -> float:
    """Laplacian variance of the drawn area over that of the real one: 1 is natural, below 1 is blurred."""
    return _ratio(sharpness_sums(drawn_TSSC, real_TSSC, area))


def jitter_sums(
    drawn_TSSC: np.ndarray, real_TSSC: np.ndarray, area: Area = "mouth", chosen_T: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean absolute second difference in time of the pixels, summed over the triples of frames, drawn and real.

    ``|x(t+1) - 2 x(t) + x(t-1)|`` of 4 x 4 px blocks, so that sensor noise, which no generator draws, is no jitter.
    ``chosen_T`` (bool) counts only the triples whose three frames are all chosen: silent ones, say.
    """
    triples = _triples(len(drawn_TSSC), chosen_T)
    if not len(triples):
        return 0.0, 0.0
    sums = []
    for faces_TSSC in (drawn_TSSC, real_TSSC):
        area_TCHW = area_of(signed(faces_TSSC), area)
        windows_N3CHW = (area_TCHW[t : t + 3] for t in triples)
        sums.append(sum(float(jitter(window[None])) for window in windows_N3CHW))
    return sums[0], sums[1]


def pixel_jitter_ratio(
    drawn_TSSC: np.ndarray, real_TSSC: np.ndarray, area: Area = "mouth", chosen_T: np.ndarray | None = None
) -> float:
    """Second difference of the pixels, drawn over real: 1 is natural, above trembles, below is stiff.

    On ``area="upper"``, which is not drawn, it is exactly 1. NaN where the real picture does not move.
    """
    return _ratio(jitter_sums(drawn_TSSC, real_TSSC, area, chosen_T))


def landmark_jitter_sums(
    drawn_TN2: np.ndarray, real_TN2: np.ndarray, chosen_T: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean length of the second difference of the mouth's points, summed over triples of frames, drawn and real.

    Both in one unit (distances of the eyes). A frame without landmarks is NaN, and its triples are left out on both
    sides.
    """
    triples = _triples(len(drawn_TN2), chosen_T)
    drawn, real = (
        np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean(-1)[triples] for points in (drawn_TN2, real_TN2)
    )
    is_known = np.isfinite(drawn) & np.isfinite(real)
    return float(drawn[is_known].sum()), float(real[is_known].sum())


def pixel_motion(faces_TSSC: np.ndarray) -> np.ndarray:
    """How much the mouth's box changes from the frame before, in grey levels: (T,); the first repeats the second."""
    box_TCHW = mouth_box(torch.from_numpy(np.ascontiguousarray(faces_TSSC)).permute(0, 3, 1, 2)).float()
    change_T = box_TCHW.diff(dim=0).abs().flatten(1).mean(1).numpy()
    return np.concatenate([change_T[:1], change_T]) if len(change_T) else np.zeros(len(faces_TSSC), np.float32)


def held_sums(held_TSSC: np.ndarray, own_TSSC: np.ndarray, moments_T: np.ndarray) -> tuple[float, float]:
    """How much the mouth moves when its speech stands still, and over the same frames with its own speech.

    Both are the sum over frames of ``mean |x(t) - x(t-1)|`` of the mouth's 4 x 4 px blocks, so that sensor noise is no
    movement. ``held_TSSC`` are the first frames of the clip, each drawn with the speech of the frame ``moments_T``;
    changes from one moment to the next are left out on both sides.
    """
    same_T = np.diff(moments_T) == 0
    held, own = (
        F.avg_pool2d(mouth_box(signed(faces[: len(moments_T)])), 4).diff(dim=0).abs().flatten(1).mean(1).numpy()
        for faces in (held_TSSC, own_TSSC)
    )
    return float(held[same_T].sum()), float(own[same_T].sum())


def silent_frames(mel_SM: np.ndarray, num_frames: int, first_frame: int = 0) -> np.ndarray:
    """Bool (T,): frames in pauses of the speech, 0.2 s away from any sound.

    A frame sounds where its mean log-mel is above the floor and less than 35 dB below the loudest fiftieth of the clip.
    """
    edges = ((np.arange(first_frame, first_frame + num_frames + 1) * MEL_STEPS_PER_SECOND) // FPS).astype(int)
    level_S = mel_SM.mean(1, dtype=np.float64)
    floor = max(float(np.percentile(level_S, 98)) - SILENCE_DB / UNIT_DB, MEL_FLOOR + 0.1) if len(level_S) else 0.0
    level_T = np.array([level_S[a:b].max(initial=MEL_FLOOR) for a, b in itertools.pairwise(edges)])
    sounds_T = (level_T > floor).astype(int)
    near_T = np.convolve(np.pad(sounds_T, SETTLE_FRAMES), np.ones(2 * SETTLE_FRAMES + 1), mode="valid")
    return near_T[: len(sounds_T)] == 0


def open_threshold(real_opening_T: np.ndarray) -> float:
    """From where a person's mouth is called open: 0.3 of the way from its closed (5 %) to its wide (95 %) openings."""
    low, high = np.nanpercentile(real_opening_T, (5, 95))
    return float(low + OPEN_SHARE * (high - low))


def leak_sums(value_T: np.ndarray, threshold: float, silent_T: np.ndarray) -> tuple[float, float]:
    """``(frames above the threshold, frames)`` among the silent ones; the share is the silence leak.

    ``value_T`` is an opening, or a motion; NaN is left out. 0 is a mouth that stays shut while nothing is said.
    """
    known_T = silent_T & np.isfinite(value_T)
    return float((value_T[known_T] > threshold).sum()), float(known_T.sum())


def _triples(num_frames: int, chosen_T: np.ndarray | None) -> np.ndarray:
    """The first frames of the triples that count."""
    if num_frames < 3:
        return np.zeros(0, int)
    if chosen_T is None:
        return np.arange(num_frames - 2)
    return np.flatnonzero(chosen_T[:-2] & chosen_T[1:-1] & chosen_T[2:])


def _ratio(sums: tuple[float, float]) -> float:
    return sums[0] / sums[1] if sums[1] > 0 else float("nan")
