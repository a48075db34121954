"""What the expert can tell on people it never saw: is this the speech of this mouth, and when?

Shape suffixes: T windows of a clip, D embedding, S side in pixels, C colour, M mel bins, N windows of a batch;
mel_SM: S mel steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anchor.evaluation.calibration import choices, reliability
from anchor.metrics import pair_accuracy, shift_curve
from anchor.models import SyncNet
from anchor.ops.images import lower_half, to_signed
from anchor.timing import FPS, WINDOW_FRAMES, frame_span, mel_window, window_centres

__all__ = ["MAX_SHIFT", "MIN_SHIFT", "ClipEmbedding", "clip_offset", "embed_clip", "score_expert", "window_offsets"]

MIN_SHIFT, MAX_SHIFT = WINDOW_FRAMES, 15  # frames: the nearest that shares no picture, and 0.6 s
FARTHEST = 30  # frames: how far pairs are compared by distance
DISTANCES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 7), (8, 15), (16, 30))  # frames, groups of the table
PIECE_FRAMES, PIECE_STEP = 2 * FPS, FPS  # windows of two seconds, a second apart
FOREIGN_CLIPS = 4  # whose speech every clip is compared with
BATCH_WINDOWS = 64


@dataclass(frozen=True)
class ClipEmbedding:
    """The expert's unit vectors for successive windows of one clip."""

    speaker: str
    face_TD: Tensor
    speech_TD: Tensor
    window_frames: int = WINDOW_FRAMES  # that the expert sees at once


@dataclass
class ExpertScores:
    """Numbers for scores.json, and the curves that the report draws."""

    scores: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@torch.inference_mode()
def embed_clip(
    expert: SyncNet, faces_TSSC: np.ndarray, mel_SM: np.ndarray, first_frame: int = 0
) -> tuple[Tensor, Tensor]:
    """Embeddings of mouths and speech, on the CPU: a row for each window, (T - 4, D) where the expert sees five frames.

    Row ``i`` is the window of frame ``i + window_frames // 2``; none of a clip that is shorter than a window.
    ``faces_TSSC`` are uint8 RGB; ``first_frame`` is the frame of the speech that the first picture shows.
    """
    device = next(expert.parameters()).device
    mouths_TChW = lower_half(torch.from_numpy(np.ascontiguousarray(faces_TSSC)).permute(0, 3, 1, 2))
    faces, speeches = [], []
    frames = expert.window_frames
    centres = window_centres(len(faces_TSSC), frames)
    for begin in range(0, len(centres), BATCH_WINDOWS):
        part = centres[begin : begin + BATCH_WINDOWS]
        windows = [mouths_TChW[frame_span(centre, frames).start : frame_span(centre, frames).stop] for centre in part]
        heard = [mel_window(mel_SM, first_frame + centre, frames) for centre in part]
        mels_N1MS = torch.from_numpy(np.stack(heard)[:, None])
        faces.append(expert.embed_mouths(to_signed(torch.stack(windows).to(device))).cpu())
        speeches.append(expert.embed_speech(mels_N1MS.to(device)).cpu())
    if not faces:
        return torch.zeros(0, 1), torch.zeros(0, 1)
    return torch.cat(faces), torch.cat(speeches)


def score_expert(clips: Sequence[ClipEmbedding], scale: float) -> ExpertScores:
    """Everything the expert is judged by, over clips it was not taught with.

    ``scale`` is its inverse temperature. Scores that the clips are too short or too few for are absent.
    """
    result = ExpertScores()
    won, count = torch.zeros(FARTHEST + 1), np.zeros(FARTHEST + 1, int)
    foreign_won, foreign_count, loss, chance, num_windows = 0.0, 0, 0.0, 0.0, 0
    curves, offsets, true_cosine = [], [], []
    pieces: list[int] = []
    sure: list[tuple[Tensor, Tensor]] = []
    people: dict[str, _Person] = {}
    for number, clip in enumerate(clips):
        person = people.setdefault(clip.speaker, _Person())
        for distance in range(1, FARTHEST + 1):
            part, pairs = pair_accuracy(clip.face_TD, clip.speech_TD, distance, distance)
            won[distance] += part
            count[distance] += pairs
            if MIN_SHIFT <= distance <= MAX_SHIFT:
                person.won, person.count = person.won + float(part), person.count + pairs
        own_pieces = window_offsets(clip.face_TD, clip.speech_TD, clip.window_frames)
        pieces += own_pieces
        person.add(clip, own_pieces)
        sure.append(choices(clip.face_TD, clip.speech_TD, scale, MIN_SHIFT, MAX_SHIFT))
        true_cosine.append(float((clip.face_TD * clip.speech_TD).sum(1).mean()))
        clip_loss, clip_chance, clip_windows = _choice_loss(clip, scale)
        loss, chance, num_windows = loss + clip_loss, chance + clip_chance, num_windows + clip_windows
        for other in _strangers(clips, number):
            foreign, foreign_pairs = _foreign_accuracy(clip, other)
            foreign_won, foreign_count = foreign_won + foreign, foreign_count + foreign_pairs
        if len(clip.face_TD) > 2 * MAX_SHIFT:
            curve = shift_curve(clip.face_TD, clip.speech_TD, MAX_SHIFT)
            curves.append(curve)
            offsets.append(int(curve.argmax()) - MAX_SHIFT)
    far = slice(MIN_SHIFT, MAX_SHIFT + 1)
    if count[far].sum():
        result.scores["expert/pair_accuracy"] = float(won[far].sum() / count[far].sum())
    if foreign_count:
        result.scores["expert/foreign_accuracy"] = foreign_won / foreign_count
    if num_windows:
        result.scores["expert/loss"], result.scores["expert/loss_chance"] = loss / num_windows, chance / num_windows
    result.scores["expert/cosine_true"] = float(np.mean(true_cosine))
    result.details["accuracy_by_distance"] = {
        str(d): round(float(won[d] / count[d]), 4) for d in range(1, FARTHEST + 1) if count[d]
    }
    for low, high in DISTANCES:
        if total := int(count[low : high + 1].sum()):
            name = f"expert/pair_accuracy_{low}" + (f"_{high}" if high > low else "")
            result.scores[name] = float(won[low : high + 1].sum()) / total
    if pieces:
        result.scores["expert/offset_within_one_2s"] = float(np.mean(np.abs(pieces) <= 1))
        result.scores["expert/windows_2s"] = float(len(pieces))
        result.details["offsets_2s"] = pieces
    confidence_N, is_right_N = (torch.cat(column) for column in zip(*sure, strict=True))
    if len(confidence_N):
        result.scores["expert/calibration_error"], result.details["reliability"] = reliability(confidence_N, is_right_N)
    result.details["by_speaker"] = {name: person.row() for name, person in sorted(people.items())}
    if curves:
        mean_curve = torch.stack(curves).mean(0)
        result.scores["expert/offset_within_one"] = float(np.mean(np.abs(offsets) <= 1))
        result.scores["expert/offset_exact"] = float(np.mean(np.array(offsets) == 0))
        result.scores["expert/peak_offset_frames"] = float(mean_curve.argmax()) - MAX_SHIFT
        result.details["shift_curve"] = [round(float(value), 4) for value in mean_curve]
    result.details["offsets"] = offsets
    return result


def clip_offset(face_TD: Tensor, speech_TD: Tensor) -> int | None:
    """Frames by which the speech comes late, by the expert: 0 is in sync; None for a clip that is too short."""
    if len(face_TD) <= 2 * MAX_SHIFT:
        return None
    return int(shift_curve(face_TD, speech_TD, MAX_SHIFT).argmax()) - MAX_SHIFT


def window_offsets(face_TD: Tensor, speech_TD: Tensor, window_frames: int = WINDOW_FRAMES) -> list[int]:
    """The offset that each window of two seconds gives, in frames; every shift serves the same fifty pictures.

    Windows begin a second apart; a clip below 3.2 s, two seconds and the shifts on both sides, has none. An expert that
    sees more frames at once has fewer embeddings of the fifty pictures, and no more of them.
    """
    length = PIECE_FRAMES - window_frames + 1 + 2 * MAX_SHIFT
    found = []
    for start in range(0, len(face_TD) - length + 1, PIECE_STEP):
        part = slice(start, start + length)
        found.append(int(shift_curve(face_TD[part], speech_TD[part], MAX_SHIFT).argmax()) - MAX_SHIFT)
    return found


@dataclass
class _Person:
    """What is known of one speaker."""

    won: float = 0.0
    count: int = 0
    clips: int = 0
    windows: int = 0
    pieces: list[int] = field(default_factory=list)

    def add(self, clip: ClipEmbedding, pieces: list[int]) -> None:
        """Another clip."""
        self.clips, self.windows = self.clips + 1, self.windows + len(clip.face_TD)
        self.pieces += pieces

    def row(self) -> dict[str, float | int | None]:
        """A line of the table; None where the clips are too short."""
        return {
            "clips": self.clips,
            "seconds": round(self.windows / FPS, 1),
            "pair_accuracy": round(self.won / self.count, 4) if self.count else None,
            "windows_2s": len(self.pieces),
            "offset_within_one_2s": round(float(np.mean(np.abs(self.pieces) <= 1)), 4) if self.pieces else None,
        }


def _choice_loss(clip: ClipEmbedding, scale: float) -> tuple[float, float, int]:
    """Sums over windows: cross-entropy of the true speech among that shifted by 5 to 15 frames, its value by chance."""
    cosine_TT = clip.face_TD @ clip.speech_TD.T
    place = torch.arange(len(cosine_TT))
    distance = (place[:, None] - place).abs()
    offered = (distance == 0) | ((distance >= MIN_SHIFT) & (distance <= MAX_SHIFT))
    usable = offered.sum(1) > 1
    if not bool(usable.any()):
        return 0.0, 0.0, 0
    logits = (scale * cosine_TT).masked_fill(~offered, -math.inf)[usable]
    loss = F.cross_entropy(logits, place[usable], reduction="sum")
    return float(loss), float(offered[usable].sum(1).float().log().sum()), int(usable.sum())


def _strangers(clips: Sequence[ClipEmbedding], number: int) -> list[ClipEmbedding]:
    """Up to four clips to compare with, of other speakers where there are any."""
    others = [clips[(number + step) % len(clips)] for step in range(1, len(clips))]
    foreign = [clip for clip in others if clip.speaker != clips[number].speaker]
    return (foreign or others)[:FOREIGN_CLIPS]


def _foreign_accuracy(clip: ClipEmbedding, other: ClipEmbedding) -> tuple[float, int]:
    wrong_TK = clip.face_TD @ other.speech_TD.T
    true_T1 = (clip.face_TD * clip.speech_TD).sum(1, keepdim=True)
    won_TK = (true_T1 > wrong_TK).float() + 0.5 * (true_T1 == wrong_TK).float()
    return float(won_TK.sum()), won_TK.numel()
