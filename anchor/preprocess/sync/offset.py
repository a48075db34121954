"""The verdict on a clip: how late its sound is, that this cannot be told, or that the sound is not of these lips."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anchor.errors import MediaError
from anchor.preprocess.sync.curve import FAR, MARGIN, MAX_SHIFT, score_shifts
from anchor.preprocess.sync.features import level_facts, mouth_components, sound_components
from anchor.preprocess.sync.mouth import MouthLog, Stretch
from anchor.timing import FPS, NUM_MELS

__all__ = ["Limits", "Offset", "measure_offset", "measure_stretches"]

FRAME_MS = 1000 / FPS
CHANCE_MODE, CHANCE_SCALE = 1.55, 0.69  # Gumbel of the best score of sound that does not belong (docs/sync.md)


@dataclass(frozen=True)
class Limits:
    """Where a verdict begins; from the table in docs/sync.md. Scores are spreads of chance above its mean."""

    min_frames: int = 6 * FPS  # of usable face
    min_sounding: int = 4 * FPS  # of them with sound: three loud seconds fit some lips by chance
    score: float = 5.5  # an offset is established from here on
    no_match_frames: int = 12 * FPS  # of usable face, before sound may be called foreign
    no_match_rate: float = 0.275  # and its best score grows slower, per second: that of a match grows with the length
    movement: float = 0.05  # of the mouth, in spreads of the upper face
    level_db: float = 4.5  # spread of the sound's level, below which it is no speech
    part_score: float = 5.0  # a part of the clip has an offset of its own from here on
    good_part_score: float = 8.0  # no clip with such a part is a mismatch as a whole
    drift_frames: float = 2.0  # by which the parts may differ


@dataclass(frozen=True)
class Offset:
    """How late the sound is against the lips.

    ``offset_ms`` is positive where the audio is late, a multiple of 10 (finer it is not known), and None unless
    ``status`` is "established". ``confidence`` is the share of clips with foreign sound whose best shift stands out
    less than this one's: 0.997 at the limit.
    """

    status: Literal["established", "not established", "no match"]
    offset_ms: float | None
    confidence: float  # [0, 1]
    reason: str  # of a status that is not "established"; else empty
    frames: int  # that were measured
    score: float  # of the best shift, in spreads of chance above its mean
    curve: tuple[tuple[int, float], ...] = ()  # (ms, score) for every shift from -600 to +600

    def __str__(self) -> str:
        return f"{self.offset_ms:+.0f} ms" if self.offset_ms is not None else self.status


def measure_offset(log: MouthLog, mel_SM: np.ndarray, limits: Limits | None = None) -> Offset:
    """How late the sound of a clip is against the lips in ``log``, searched from -600 to +600 ms.

    ``mel_SM`` is ``log_mel`` of the whole clip, (steps, 80) from the first sample on: frame ``i`` is heard around
    ``(i + 0.5) / 25`` s. Costs about 0.1 s for a minute of face.

    Raises:
        MediaError: ``mel_SM`` is no log-mel.
    """
    if mel_SM.ndim != 2 or mel_SM.shape[1] != NUM_MELS or len(mel_SM) == 0:
        raise MediaError(
            f"An offset is measured on a log-mel (steps, {NUM_MELS}), and {mel_SM.shape} arrived. "
            "Give what anchor.ops.mel.log_mel makes of the clip's sound."
        )
    return measure_stretches(log.stretches(), mel_SM, limits)


def measure_stretches(stretches: list[Stretch], mel_SM: np.ndarray, limits: Limits | None = None) -> Offset:
    """What ``measure_offset`` says of a log with these stretches."""
    limits = limits or Limits()
    frames = sum(len(stretch.mouth) for stretch in stretches)
    if frames < limits.min_frames:
        reason = f"{frames / FPS:.1f} s of face in stretches of a second, {limits.min_frames / FPS:.0f} s are needed"
        return Offset("not established", None, 0.0, reason, frames, 0.0)
    mouths, movement = mouth_components(stretches)
    sounds = [_sound(mel_SM, stretch) for stretch in stretches]
    scores_D, far = score_shifts(mouths, sounds)
    best, score = _peak(scores_D)
    confidence = math.exp(-math.exp(-(score - CHANCE_MODE) / CHANCE_SCALE))
    curve = tuple((round(shift * FRAME_MS), round(float(s), 2)) for shift, s in enumerate(scores_D, -MAX_SHIFT))

    def say(status: Literal["established", "not established", "no match"], reason: str) -> Offset:
        offset_ms = 10.0 * round(best * FRAME_MS / 10) if status == "established" else None
        return Offset(status, offset_ms, round(confidence, 4), reason, frames, round(score, 2), curve)

    level_db, sounding = level_facts(mel_SM, stretches)
    if sounding < limits.min_sounding:
        return say("not established", f"{sounding / FPS:.1f} s of sound, {limits.min_sounding / FPS:.0f} s are needed")
    if movement < limits.movement:
        return say("not established", "the mouth hardly moves")
    parts = [_peak(score_shifts(*part)[0]) for part in _parts(mouths, sounds)]
    has_good_part = any(part_score >= limits.good_part_score for _, part_score in parts)
    sure = [shift for shift, part_score in parts if part_score >= limits.part_score]
    if len(sure) == 2 and abs(sure[1] - sure[0]) > limits.drift_frames:
        first, last = (f"{shift * FRAME_MS:+.0f} ms" for shift in sure)
        return say("not established", f"the offset drifts: {first} at the beginning, {last} at the end")
    if score >= limits.score:
        if abs(best) > MAX_SHIFT - 1:
            return say("not established", f"the best shift lies at the end of the range, {best * FRAME_MS:+.0f} ms")
        return say("established", "")
    if float(far.max(initial=0.0)) >= limits.score + 1:
        return say("not established", "the sound fits the lips best when moved by a second or more: cut the clip anew")
    if level_db < limits.level_db:
        return say("not established", "the sound hardly changes: silence, noise or a steady tone")
    if frames >= limits.no_match_frames and score < limits.no_match_rate * frames / FPS and not has_good_part:
        return say("no match", f"at no shift within {MAX_SHIFT * FRAME_MS:.0f} ms does the sound fit the lips")
    return say("not established", f"no shift stands out enough: score {score:.1f}, {limits.score:.1f} is needed")


def _sound(mel_SM: np.ndarray, stretch: Stretch) -> np.ndarray:
    return sound_components(mel_SM, stretch.start - MARGIN, stretch.start + len(stretch.mouth) + MARGIN)


def _peak(scores_D: np.ndarray) -> tuple[float, float]:
    """The best shift in frames, between two of them by a parabola, and its score."""
    best = int(scores_D.argmax())
    place = 0.0
    if 0 < best < len(scores_D) - 1:
        before, peak, after = scores_D[best - 1 : best + 2]
        bend = before - 2 * peak + after
        place = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return best - MAX_SHIFT + float(place), float(scores_D[best])


def _parts(mouths: list[np.ndarray], sounds: list[np.ndarray]) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The first and the last third of what was seen, or halves where thirds are too short; nothing below 12 s."""
    total = sum(map(len, mouths))
    if total < 12 * FPS:
        return []
    length = max(total // 3, 6 * FPS)
    ends = list(itertools.accumulate(map(len, mouths)))
    parts = []
    for start, stop in ((0, length), (total - length, total)):
        some: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for mouth, sound, end in zip(mouths, sounds, ends, strict=True):
            begin = end - len(mouth)
            first, last = max(start, begin) - begin, min(stop, end) - begin
            if last > first:
                some[0].append(mouth[first:last])
                some[1].append(sound[first : last + 2 * MARGIN])
        parts.append(some)
    return parts


assert 6 * FPS > 2 * FAR  # something must be left to be far away
