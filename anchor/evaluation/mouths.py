"""How well a generator draws: with its own speech beside the real mouth, with another's speech, and in silence.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB), L samples; mel_SM: S mel steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from anchor.evaluation import meters
from anchor.evaluation.board import Board
from anchor.evaluation.clips import ClipShelf, Pair
from anchor.evaluation.drawing import Drawn, draw_pair
from anchor.evaluation.given import Given
from anchor.evaluation.likeness import score_landmarks, score_likeness, score_with_given
from anchor.evaluation.lse import score_lse
from anchor.evaluation.marks import MouthTrack, mark_mouths
from anchor.evaluation.measures import pixel_motion
from anchor.evaluation.opening import read_openings
from anchor.evaluation.shape import score_shape
from anchor.evaluation.silence import score_silence
from anchor.evaluation.sync import MAX_SHIFT, clip_offset, embed_clip
from anchor.faces.points import LandmarkBackend, NoLandmarks
from anchor.inference import ReferenceKind, draw_frames
from anchor.metrics import shift_curve
from anchor.models import SyncNet
from anchor.timing import SAMPLES_PER_FRAME, mel_window

__all__ = [
    "PROTOCOLS",
    "Judges",
    "PairResult",
    "Strip",
    "make_strip",
    "measure_speed",
    "score_drawn",
    "score_pair",
    "sum_up",
]

PROTOCOLS = ("self", "cross", "silence", "person")
SMOOTH_FRAMES = 5  # motion and loudness are compared at the pace of syllables, 0.2 s
STRIP_FRAMES = 10


@dataclass(frozen=True)
class Strip:
    """Rows of pictures of the same moments, for the report."""

    title: str
    frames: list[int]  # of the speech
    rows: list[tuple[str, list[np.ndarray]]]  # label, uint8 RGB pictures


@dataclass
class PairResult:
    """One face drawn with its own speech and with another's."""

    pair: Pair
    scores: dict[str, float] = field(default_factory=dict)
    strip: Strip | None = None


@dataclass
class Judges:
    """Who looks at the pictures: networks of our own, networks given by path, and landmarks."""

    expert: SyncNet | None = None
    reader: nn.Module | None = None
    given: Given = field(default_factory=Given)
    landmarks: LandmarkBackend = field(default_factory=NoLandmarks)


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
    drawn = draw_pair(generator, shelf, pair, reference=reference, batch_size=batch_size)
    result = PairResult(pair, score_drawn(Board(), drawn, shelf, pair, Judges(expert, reader)))
    if with_strip:
        result.strip = make_strip(pair, {"drawn": drawn})
    return result


def score_drawn(
    board: Board,
    drawn: Drawn,
    shelf: ClipShelf,
    pair: Pair,
    judges: Judges,
    protocols: tuple[str, ...] = PROTOCOLS[:3],
) -> dict[str, float]:
    """What ``protocols`` measure of one generator's pictures of a pair, counted on ``board``."""
    scores: dict[str, float] = {}
    tracks: dict[str, MouthTrack | None] = {}
    if judges.landmarks.name != "none":
        pictures = {"own": drawn.own_TSSC, "real": drawn.face.faces_TSSC, "silent": drawn.silent_TSSC}
        pictures["closed"] = drawn.closed_TSSC
        tracks = {name: mark_mouths(judges.landmarks, faces) for name, faces in pictures.items()}
    if "self" in protocols:
        scores |= score_likeness(board, drawn) | score_with_given(board, drawn, judges.given)
        scores |= score_shape(board, drawn)
        own, real = tracks.get("own"), tracks.get("real")
        if own is not None and real is not None:
            scores |= score_landmarks(board, own, real)
    if "person" in protocols:
        scores |= score_likeness(board, drawn, "person")
    if "cross" in protocols:
        scores |= _score_motion(board, drawn)
    if "silence" in protocols:
        scores |= score_silence(board, drawn, _reader(judges, drawn, tracks))
    if judges.reader is not None:
        scores |= _score_opening(board, judges.reader, drawn, protocols)
    if judges.expert is not None and "cross" in protocols:
        scores |= _score_sync(judges.expert, drawn)
    if judges.given.syncnet is not None:
        scores |= _score_lse(board, judges.given, drawn, shelf, pair)
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def sum_up(results: list[PairResult], board: Board | None = None) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Means over pairs (and the 10th percentile where a bad clip must not hide), and a row for every pair.

    What stands on ``board`` was counted there, pooled over the clips, and replaces the mean.
    """
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    scores: dict[str, float] = {}
    for name in names:
        values = np.array([result.scores[name] for result in results if name in result.scores])
        if name.endswith("offset"):
            scores[f"{name}_within_one"] = float(np.mean(np.abs(values) <= 1))
            continue
        scores[name] = float(values.mean())
        if name in ("dub/opening_r", "real/opening_r", "self/opening_r"):
            scores[f"{name}_p10"] = float(np.percentile(values, 10))
    rows = [
        {"face": result.pair.face.key, "speech": result.pair.speech.key, "kind": result.pair.kind, **result.scores}
        for result in results
    ]
    return scores | (board.scores() if board is not None else {}), rows


def measure_speed(generator: nn.Module, image_size: int, batch_size: int, repeats: int = 5) -> dict[str, float]:
    """Frames per second in batches, and milliseconds for one frame alone (median), bytes in to bytes out."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    references = np.tile(crops, getattr(generator, "num_references", 1))
    mel_SM = rng.uniform(-4, 4, (4 * batch_size + 16, 80)).astype(np.float32)

    def seconds(count: int) -> float:
        times = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            draw_frames(generator, crops[:count], references[:count], mel_SM, range(count), batch_size)
            times.append(time.perf_counter() - started)
        return float(np.median(times[1:]))  # the first one warms up

    return {"speed/frames_per_second": batch_size / seconds(batch_size), "speed/one_frame_ms": 1000 * seconds(1)}


def motion_energy(faces_TSSC: np.ndarray) -> np.ndarray:
    """How much the mouth's box changes from the frame before, in grey levels, smoothed over 0.2 s: (T,)."""
    return _smoothed(pixel_motion(faces_TSSC))


def loudness(mel_SM: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The mean log-mel while each frame is shown, smoothed over 0.2 s: (T,)."""
    return _smoothed(np.array([mel_window(mel_SM, int(frame))[:, 6:10].mean() for frame in frames]))


def make_strip(pair: Pair, drawn_by: dict[str, Drawn]) -> Strip:
    """Moments of the dubbed face: real, and as each generator of ``drawn_by`` draws it."""
    drawn = next(iter(drawn_by.values()))
    length = min(len(drawn.dub_TSSC), len(drawn.face))
    at = np.unique(np.linspace(0.06 * length, 0.94 * length - 1, STRIP_FRAMES).round().astype(int))
    spoken, order = drawn.spoken[at], drawn.order[at]
    rows = [("real, own speech", drawn.face.faces_TSSC[order])]
    rows += [(f"{label}, own speech", one.own_TSSC[order]) for label, one in drawn_by.items()]
    rows += [(f"{label}, other speech", one.dub_TSSC[at]) for label, one in drawn_by.items()]
    rows.append(("real speaker of that speech", drawn.speech.faces_TSSC[spoken]))
    title = f"{pair.face.key} speaks {pair.speech.key} ({pair.kind})"
    return Strip(title, [int(frame) for frame in spoken], [(label, list(pictures)) for label, pictures in rows])


def _reader(judges: Judges, drawn: Drawn, tracks: dict[str, MouthTrack | None]) -> Any:
    """How far a mouth opens: by the network taught on known openings, else by landmarks, else nobody knows."""
    reader = judges.reader
    if reader is not None:
        return lambda faces_TSSC: read_openings(reader, faces_TSSC)
    if not any(tracks.values()):
        return None
    known = {id(drawn.own_TSSC): "own", id(drawn.face.faces_TSSC): "real", id(drawn.silent_TSSC): "silent"}
    known[id(drawn.closed_TSSC)] = "closed"

    def look_up(faces_TSSC: np.ndarray) -> np.ndarray | None:
        track = tracks.get(known[id(faces_TSSC)])
        return None if track is None else track.opening_T

    return look_up


def _score_motion(board: Board, drawn: Drawn) -> dict[str, float]:
    own_loudness_T = loudness(drawn.face.mel_SM, np.arange(len(drawn.face)))
    dub_motion_T = motion_energy(drawn.dub_TSSC)
    pairs = {
        "dub/motion_r": (dub_motion_T, loudness(drawn.speech.mel_SM, drawn.spoken)),
        "dub/motion_r_control": (dub_motion_T, own_loudness_T[drawn.order]),
        "real/motion_r": (motion_energy(drawn.face.faces_TSSC), own_loudness_T),
    }
    return {name: board.count(name, meters.MeanCorrelation, *both) for name, both in pairs.items()}


def _score_opening(board: Board, reader: nn.Module, drawn: Drawn, protocols: tuple[str, ...]) -> dict[str, float]:
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if "cross" in protocols:
        read_T = read_openings(reader, drawn.dub_TSSC)
        if drawn.speech.opening_T is not None:
            pairs["dub/opening_r"] = (read_T, drawn.speech.opening_T[drawn.spoken])
        if drawn.face.opening_T is not None:
            pairs["dub/opening_r_control"] = (read_T, drawn.face.opening_T[drawn.order])
    if drawn.face.opening_T is not None:
        if "self" in protocols:
            pairs["self/opening_r"] = (read_openings(reader, drawn.own_TSSC), drawn.face.opening_T)
        pairs["real/opening_r"] = (read_openings(reader, drawn.face.faces_TSSC), drawn.face.opening_T)
    return {
        name: board.count(
            name, meters.MeanCorrelation if name.endswith("control") else meters.OpeningCorrelation, *both
        )
        for name, both in pairs.items()
    }


def _score_sync(expert: SyncNet, drawn: Drawn) -> dict[str, float]:
    scores = {}
    pictures = {"dub": (drawn.dub_TSSC, int(drawn.spoken[0])), "real": (drawn.speech.faces_TSSC, 0)}
    for name, (faces_TSSC, first_frame) in pictures.items():
        face_TD, speech_TD = embed_clip(expert, faces_TSSC, drawn.speech.mel_SM, first_frame)
        scores[f"{name}/cosine"] = float((face_TD * speech_TD).sum(1).mean())
        offset = clip_offset(face_TD, speech_TD)
        if offset is not None:
            scores[f"{name}/offset"] = float(offset)
            curve = shift_curve(face_TD, speech_TD, MAX_SHIFT)
            scores[f"{name}/confidence"] = meters.ShiftCurve.confidence(curve)
    return scores


def _score_lse(board: Board, given: Given, drawn: Drawn, shelf: ClipShelf, pair: Pair) -> dict[str, float]:
    """``lse_d``, ``lse_c`` and ``lse_offset`` by the original network."""
    assert given.syncnet is not None
    scores: dict[str, float] = {}
    first = int(drawn.spoken[0]) * SAMPLES_PER_FRAME
    own_L, other_L = (shelf.source.read_audio(entry) for entry in (pair.face, pair.speech))
    for name, faces_TSSC, sound_L in (
        ("self", drawn.own_TSSC, own_L),
        ("dub", drawn.dub_TSSC, other_L[first:]),
        ("real", drawn.face.faces_TSSC, own_L),
    ):
        found = score_lse(given.syncnet, faces_TSSC, sound_L)
        if found is not None:
            for word, value in (("lse_d", found.lse_d), ("lse_c", found.lse_c)):
                scores[f"{name}/{word}"] = board.count(f"{name}/{word}", meters.MeanValue, value)
            scores[f"{name}/lse_offset"] = float(found.offset_frames)
    return scores


def _smoothed(values_T: np.ndarray) -> np.ndarray:
    padded = np.pad(values_T, SMOOTH_FRAMES // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), mode="valid")
