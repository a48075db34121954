"""How well a generator draws: with its own speech beside the real mouth, and with the speech of someone else.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB), H W pixels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anchor.evaluation.clips import ClipShelf, EvaluationClip, Pair
from anchor.evaluation.measures import mouth_box, signed
from anchor.evaluation.opening import read_openings
from anchor.evaluation.sync import clip_offset, embed_clip
from anchor.inference import ReferenceKind, back_and_forth, choose_references, draw_frames, pose_vector
from anchor.metrics import correlation, jitter_ratio, laplacian_variance, psnr, ssim
from anchor.models import SyncNet
from anchor.ops.images import lower_half
from anchor.timing import WINDOW_FRAMES, mel_window

__all__ = ["PairResult", "Strip", "measure_speed", "score_pair", "sum_up"]

SMOOTH_FRAMES = 5  # motion and loudness are compared at the pace of syllables, 0.2 s
STRIP_FRAMES = 10
SSIM_WINDOW = 11  # px: the mouth's box of a face below 36 px is smaller


@dataclass(frozen=True)
class Strip:
    """Rows of pictures of the same moments, for the report."""

    title: str
    frames: list[int]  # of the speech
    rows: list[tuple[str, list[np.ndarray]]]  # label, uint8 RGB pictures


@dataclass
class PairResult:
    """One face drawn twice: with its own speech and with another's."""

    pair: Pair
    scores: dict[str, float] = field(default_factory=dict)
    strip: Strip | None = None


@dataclass(frozen=True)
class _Drawn:
    """A face with its own speech (``own``) and with another's (``dub``)."""

    face: EvaluationClip
    speech: EvaluationClip
    references_T: np.ndarray  # for each frame of the face
    own_TSSC: np.ndarray
    dub_TSSC: np.ndarray
    spoken: np.ndarray  # for each dubbed frame, the frame of the speech
    order: np.ndarray  # and the frame of the face


def score_pair(
    generator: nn.Module,
    shelf: ClipShelf,
    pair: Pair,
    *,
    reference: ReferenceKind,
    expert: SyncNet | None = None,
    reader: nn.Module | None = None,
    batch_size: int = 16,
    with_strip: bool = False,
) -> PairResult:
    """Draw and measure one pair; real pictures go through the same code, under names that begin with ``real/``."""
    drawn = _draw(generator, shelf.read(pair.face), shelf.read(pair.speech), pair.shift, reference, batch_size)
    result = PairResult(pair, _score_likeness(drawn) | _score_motion(drawn))
    if reader is not None:
        result.scores |= _score_opening(reader, drawn)
    if expert is not None:
        result.scores |= _score_sync(expert, drawn)
    if with_strip:
        result.strip = _strip(pair, drawn)
    return result


def sum_up(results: list[PairResult]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Means over pairs (and the 10th percentile where a bad clip must not hide), and a row for every pair."""
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    scores: dict[str, float] = {}
    for name in names:
        values = np.array([result.scores[name] for result in results if name in result.scores])
        if name.endswith("/offset"):
            scores[f"{name}_within_one"] = float(np.mean(np.abs(values) <= 1))
            continue
        scores[name] = float(values.mean())
        if name in ("dub/opening_r", "real/opening_r", "self/opening_r"):
            scores[f"{name}_p10"] = float(np.percentile(values, 10))
    rows = [
        {"face": result.pair.face.key, "speech": result.pair.speech.key, "kind": result.pair.kind, **result.scores}
        for result in results
    ]
    return scores, rows


def measure_speed(generator: nn.Module, image_size: int, batch_size: int, repeats: int = 5) -> dict[str, float]:
    """Frames per second in batches, and milliseconds for one frame alone (median), bytes in to bytes out."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    mel_SM = rng.uniform(-4, 4, (4 * batch_size + 16, 80)).astype(np.float32)

    def seconds(count: int) -> float:
        times = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            draw_frames(generator, crops[:count], crops[:count], mel_SM, range(count), batch_size)
            times.append(time.perf_counter() - started)
        return float(np.median(times[1:]))  # the first one warms up

    return {"speed/frames_per_second": batch_size / seconds(batch_size), "speed/one_frame_ms": 1000 * seconds(1)}


def motion_energy(faces_TSSC: np.ndarray) -> np.ndarray:
    """How much the mouth's box changes from the frame before, in grey levels, smoothed over 0.2 s: (T,)."""
    box_TCHW = mouth_box(torch.from_numpy(faces_TSSC).permute(0, 3, 1, 2)).float()
    change_T = box_TCHW.diff(dim=0).abs().flatten(1).mean(1).numpy()
    return _smoothed(np.concatenate([change_T[:1], change_T]))


def loudness(mel_SM: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The mean log-mel while each frame is shown, smoothed over 0.2 s: (T,)."""
    return _smoothed(np.array([mel_window(mel_SM, int(frame))[:, 6:10].mean() for frame in frames]))


def _draw(
    generator: nn.Module,
    face: EvaluationClip,
    speech: EvaluationClip,
    shift: int,
    reference: ReferenceKind,
    batch_size: int,
) -> _Drawn:
    poses_TP = np.stack([pose_vector(crop) for crop in face.faces_TSSC])
    references_T = choose_references(reference, np.zeros(len(face), int), poses_TP)
    spoken = np.arange(shift, len(speech))
    order = back_and_forth(len(spoken), len(face))
    copied_TSSC = face.faces_TSSC[references_T]
    own_TSSC = draw_frames(generator, face.faces_TSSC, copied_TSSC, face.mel_SM, range(len(face)), batch_size)
    dub_TSSC = draw_frames(
        generator,
        face.faces_TSSC[order],
        copied_TSSC[order],
        speech.mel_SM,
        [int(frame) for frame in spoken],
        batch_size,
    )
    return _Drawn(face, speech, references_T, own_TSSC, dub_TSSC, spoken, order)


def _score_likeness(drawn: _Drawn) -> dict[str, float]:
    """``self/``: drawn against real. ``copy/``: the reference against real, what a generator must beat."""
    away_T = np.abs(drawn.references_T - np.arange(len(drawn.face))) >= WINDOW_FRAMES
    if not away_T.any():  # reference=same: everything is shown what it is to draw
        away_T[:] = True
    scores = {f"self/{name}": value for name, value in _likeness(drawn.own_TSSC, drawn.face.faces_TSSC, away_T).items()}
    copied = _likeness(drawn.face.faces_TSSC[drawn.references_T], drawn.face.faces_TSSC, away_T)
    return scores | {f"copy/{name}": value for name, value in copied.items() if name.startswith(("mouth", "lower"))}


def _likeness(drawn_TSSC: np.ndarray, real_TSSC: np.ndarray, counted_T: np.ndarray) -> dict[str, float]:
    """Single pictures are compared where ``counted_T``; jitter needs them all in a row."""
    drawn_TCHW, real_TCHW = signed(drawn_TSSC), signed(real_TSSC)
    jitter = float(jitter_ratio(mouth_box(drawn_TCHW)[None], mouth_box(real_TCHW)[None]))
    drawn_half, real_half = lower_half(drawn_TCHW[counted_T]), lower_half(real_TCHW[counted_T])
    drawn_mouth, real_mouth = mouth_box(drawn_TCHW[counted_T]), mouth_box(real_TCHW[counted_T])
    scores = {
        "mouth_psnr": float(psnr(drawn_mouth, real_mouth).mean()),
        "lower_psnr": float(psnr(drawn_half, real_half).mean()),
        "lower_ssim": float(ssim(drawn_half, real_half).mean()),
        "lower_l1": float((drawn_half - real_half).abs().mean()),
        "jitter_ratio": jitter,
        "sharpness_ratio": float(
            laplacian_variance(drawn_mouth).mean() / laplacian_variance(real_mouth).mean().clamp_min(1e-9)
        ),
    }
    if min(real_mouth.shape[-2:]) >= SSIM_WINDOW:
        scores["mouth_ssim"] = float(ssim(drawn_mouth, real_mouth).mean())
    return scores


def _score_motion(drawn: _Drawn) -> dict[str, float]:
    own_loudness_T = loudness(drawn.face.mel_SM, np.arange(len(drawn.face)))
    dub_motion_T = motion_energy(drawn.dub_TSSC)
    return {
        "dub/motion_r": _r(dub_motion_T, loudness(drawn.speech.mel_SM, drawn.spoken)),
        "dub/motion_r_control": _r(dub_motion_T, own_loudness_T[drawn.order]),
        "real/motion_r": _r(motion_energy(drawn.face.faces_TSSC), own_loudness_T),
    }


def _score_opening(reader: nn.Module, drawn: _Drawn) -> dict[str, float]:
    scores = {}
    read_T = read_openings(reader, drawn.dub_TSSC)
    if drawn.speech.opening_T is not None:
        scores["dub/opening_r"] = _r(read_T, drawn.speech.opening_T[drawn.spoken])
    if drawn.face.opening_T is not None:
        scores["dub/opening_r_control"] = _r(read_T, drawn.face.opening_T[drawn.order])
        scores["self/opening_r"] = _r(read_openings(reader, drawn.own_TSSC), drawn.face.opening_T)
        scores["real/opening_r"] = _r(read_openings(reader, drawn.face.faces_TSSC), drawn.face.opening_T)
    return scores


def _score_sync(expert: SyncNet, drawn: _Drawn) -> dict[str, float]:
    scores = {}
    pictures = {"dub": (drawn.dub_TSSC, int(drawn.spoken[0])), "real": (drawn.speech.faces_TSSC, 0)}
    for name, (faces_TSSC, first_frame) in pictures.items():
        face_TD, speech_TD = embed_clip(expert, faces_TSSC, drawn.speech.mel_SM, first_frame)
        scores[f"{name}/cosine"] = float((face_TD * speech_TD).sum(1).mean())
        offset = clip_offset(face_TD, speech_TD)
        if offset is not None:
            scores[f"{name}/offset"] = float(offset)
    return scores


def _strip(pair: Pair, drawn: _Drawn) -> Strip:
    length = min(len(drawn.dub_TSSC), len(drawn.face))
    at = np.unique(np.linspace(0.06 * length, 0.94 * length - 1, STRIP_FRAMES).round().astype(int))
    spoken, order = drawn.spoken[at], drawn.order[at]
    rows = [
        ("real, own speech", drawn.face.faces_TSSC[order]),
        ("drawn, own speech", drawn.own_TSSC[order]),
        ("drawn, other speech", drawn.dub_TSSC[at]),
        ("real speaker of that speech", drawn.speech.faces_TSSC[spoken]),
    ]
    title = f"{pair.face.key} speaks {pair.speech.key} ({pair.kind})"
    return Strip(title, [int(frame) for frame in spoken], [(label, list(pictures)) for label, pictures in rows])


def _sharpness(pictures_TCHW: Tensor) -> float:
    return float(laplacian_variance(pictures_TCHW).mean())


def _smoothed(values_T: np.ndarray) -> np.ndarray:
    padded = np.pad(values_T, SMOOTH_FRAMES // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), mode="valid")


def _r(left_T: np.ndarray, right_T: np.ndarray) -> float:
    return float(correlation(torch.from_numpy(left_T), torch.from_numpy(right_T)))
