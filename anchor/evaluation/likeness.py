"""How like the real face the drawn one is, and how alike it moves: with its own speech, frame beside frame.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from torchmetrics import Metric

from anchor.evaluation import meters
from anchor.evaluation.board import Board
from anchor.evaluation.drawing import Drawn, held_moments
from anchor.evaluation.given import Given
from anchor.evaluation.marks import MouthTrack
from anchor.evaluation.measures import SSIM_SIDE, mouth_box, signed, silent_frames
from anchor.timing import WINDOW_FRAMES

__all__ = ["score_landmarks", "score_likeness", "score_with_given"]

EVERY = 5  # frames between two that a face embedding looks at

# score: how it is made. All of them take drawn and real crops of the frames that count.
LIKENESS: dict[str, Callable[[], Metric]] = {
    "mouth_psnr": functools.partial(meters.Psnr, "mouth"),
    "mouth_ssim": functools.partial(meters.Ssim, "mouth"),
    "mouth_ms_ssim": functools.partial(meters.MsSsim, "mouth"),
    "lower_psnr": functools.partial(meters.Psnr, "lower"),
    "lower_ssim": functools.partial(meters.Ssim, "lower"),
    "lower_l1": functools.partial(meters.L1, "lower"),
    "face_psnr": functools.partial(meters.Psnr, "face"),
    "face_ssim": functools.partial(meters.Ssim, "face"),
    "face_ms_ssim": functools.partial(meters.MsSsim, "face"),
}
MOTION: dict[str, Callable[[], Metric]] = {
    "jitter_ratio": functools.partial(meters.JitterRatio, "mouth"),
    "lower_jitter_ratio": functools.partial(meters.JitterRatio, "lower"),
    "upper_jitter_ratio": functools.partial(meters.JitterRatio, "upper"),
}


def score_likeness(board: Board, drawn: Drawn, prefix: str = "self") -> dict[str, float]:
    """``self/``: drawn against real. ``copy/``: the reference against real, what a generator must beat.

    Single pictures count where the reference is 5 frames away or more; jitter needs them all in a row.
    """
    counted_T = counted_frames(drawn)
    real, own = drawn.face.faces_TSSC, drawn.own_TSSC
    copied = real[drawn.references_T]
    scores = {}
    for name, make in LIKENESS.items():
        if name.startswith("mouth") and "ssim" in name and not fits_ssim(real):
            continue
        scores[f"{prefix}/{name}"] = board.count(f"{prefix}/{name}", make, own[counted_T], real[counted_T])
        if prefix == "self":
            scores[f"copy/{name}"] = board.count(f"copy/{name}", make, copied[counted_T], real[counted_T])
    for name, make in MOTION.items():
        scores[f"{prefix}/{name}"] = board.count(f"{prefix}/{name}", make, own, real)
    sharp = f"{prefix}/sharpness_ratio"
    scores[sharp] = board.count(sharp, meters.SharpnessRatio, own[counted_T], real[counted_T])
    silent_T = silent_frames(drawn.face.mel_SM, len(real))
    pause = f"{prefix}/pause_jitter_ratio"
    scores[pause] = board.count(pause, meters.JitterRatio, own, real, silent_T)
    share = f"{prefix}/held_share"
    scores[share] = board.count(share, meters.HeldShare, drawn.held_TSSC, own, held_moments(len(drawn.held_TSSC)))
    return scores


def score_landmarks(board: Board, own: MouthTrack, real: MouthTrack) -> dict[str, float]:
    """Distances, velocity, jitter and opening of the mouth's points, with its own speech."""
    scores: dict[str, float] = {}
    both: tuple[Any, ...] = (own.points_TP2, real.points_TP2)
    for name, make in {
        "self/landmark_distance": meters.LandmarkDistance,
        "self/landmark_velocity": meters.LandmarkVelocity,
        "self/landmark_jitter_ratio": meters.LandmarkJitterRatio,
    }.items():
        scores[name] = board.count(name, make, *both)
    name = "self/landmark_opening_r"
    scores[name] = board.count(name, meters.OpeningCorrelation, own.opening_T, real.opening_T)
    return scores


def score_with_given(board: Board, drawn: Drawn, given: Given) -> dict[str, float]:
    """LPIPS, FID and identity, as far as there are networks for them."""
    counted_T = counted_frames(drawn)
    real, own = drawn.face.faces_TSSC, drawn.own_TSSC
    scores: dict[str, float] = {}
    if given.lpips is not None:
        make = functools.partial(meters.PerceptualDistance, given.lpips)
        copied = real[drawn.references_T]
        scores["self/lpips"] = board.count("self/lpips", make, own[counted_T], real[counted_T])
        scores["copy/lpips"] = board.count("copy/lpips", make, copied[counted_T], real[counted_T])
    if given.inception is not None:
        for name, pictures in (("self/fid", own), ("dub/fid", drawn.dub_TSSC)):
            make_distance = functools.partial(meters.FrechetDistance, given.inception, given.num_features)
            board.add(name, make_distance, pictures, real)
    if given.identify is not None:
        known = given.identify(real[drawn.order][::EVERY])
        for name, pictures in (("self/identity", own[drawn.order]), ("dub/identity", drawn.dub_TSSC)):
            scores[name] = board.count(name, meters.IdentitySimilarity, given.identify(pictures[::EVERY]), known)
        other = np.roll(known, len(known) // 2, 0)
        scores["real/identity"] = board.count("real/identity", meters.IdentitySimilarity, other, known)
    return scores


def counted_frames(drawn: Drawn) -> np.ndarray:
    """Bool (T,): frames whose reference is another moment; all of them where reference=same shows each to itself."""
    away_T = np.abs(drawn.references_T - np.arange(len(drawn.face))) >= WINDOW_FRAMES
    return away_T if away_T.any() else np.ones_like(away_T)


def fits_ssim(faces_TSSC: np.ndarray) -> bool:
    """Whether the mouth's box holds the window of SSIM."""
    return min(mouth_box(signed(faces_TSSC[:1])).shape[-2:]) >= SSIM_SIDE
