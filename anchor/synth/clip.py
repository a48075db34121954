"""A clip: moving pictures, the sound that belongs to them, and the truth about both.

Shape suffixes: T frames, C mouth channels (5), L samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from anchor.speech import mouth_track
from anchor.synth.cast import Person, clip_stem
from anchor.synth.motion import Motion, draw_motion
from anchor.synth.stage import LANDMARKS, Framing, Stage
from anchor.synth.utterance import Utterance, speak_utterance
from anchor.timing import SAMPLE_RATE

__all__ = ["FORMAT_VERSION", "Clip", "make_clip"]

FORMAT_VERSION = 1
ABSENCE_CENTRE = 0.72  # of the clip: an absence stays clear of the cut in the middle
ROOM_NOISE_DB = (-90.0, -60.0)  # every recording hisses a little
NOISE_AMPLITUDE = 1e-3  # of the sound, per grey level of picture noise
FRAMING_ZOOM, FRAMING_SHIFT = (0.95, 1.05), 2.0
CUT_ZOOM, CUT_SHIFT = (0.84, 0.92), 8.0  # after a cut the camera stands elsewhere

# Streams of random numbers within a clip.
_SPEECH, _MOTION, _STAGE, _NOISE = range(3, 7)


@dataclass
class Clip:
    """One take of one person. The pictures are drawn while they are read."""

    person: Person
    take: int
    fps: float
    offset_ms: int  # the sound is late by this much
    samples: np.ndarray  # float32 (L,) mono at 16 kHz in [-1, 1]; sample 0 sounds with frame 0
    mouth: np.ndarray  # float32 (T, 5), the mouth that each frame shows
    is_silent: np.ndarray  # bool (T,), nothing is said and the mouth is at rest
    utterance: Utterance
    lead_s: float  # the utterance begins so long before the first frame
    shots: list[tuple[Stage, Motion, range]]  # who is seen in which frames

    @property
    def stem(self) -> str:
        """The clip's name, ``<speaker>_<take>``."""
        return clip_stem(self.person.name, self.take)

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures in order, uint8 RGB (H, W, 3); to be read once."""
        for stage, motion, numbers in self.shots:
            for frame in numbers:
                yield stage.draw(motion, frame, self.mouth[frame])

    def boxes(self) -> list[tuple[float, float, float, float] | None]:
        """The truth box of every frame in pixels, None where the face is absent."""
        return [stage.box(motion, frame) for stage, motion, numbers in self.shots for frame in numbers]

    def truth(self) -> dict[str, Any]:
        """What is in the clip, ready for JSON. Times are those of the pictures, places are in pixels."""
        boxes, landmarks = self.boxes(), []
        for stage, motion, numbers in self.shots:
            for frame in numbers:
                points = stage.landmarks(motion, frame, self.mouth[frame])
                landmarks.append(np.round(points, 2).tolist() if boxes[frame] else None)
        return {
            "format_version": FORMAT_VERSION,
            "speaker": self.person.name,
            "voice": self.person.voice.name,
            "language": self.person.voice.language,
            "text": self.utterance.text,
            "fps": self.fps,
            "num_frames": len(self.mouth),
            "offset_ms": self.offset_ms,
            "cut_frames": [numbers.start for _, _, numbers in self.shots[1:]],
            "opening": np.round(self.mouth[:, 0], 4).tolist(),
            "rounding": np.round(self.mouth[:, 2], 4).tolist(),
            "is_silent": self.is_silent.tolist(),
            "has_face": [box is not None for box in boxes],
            "boxes": [None if box is None else np.round(box, 2).tolist() for box in boxes],
            "landmark_names": list(LANDMARKS),
            "landmarks": landmarks,
            "phonemes": [[name, round(start_s - self.lead_s, 4)] for name, start_s in self.utterance.phonemes],
        }


def make_clip(
    person: Person,
    take: int,
    *,
    seconds: float,
    size: int,
    fps: float = 25.0,
    offset_ms: int = 0,
    silence: float = 0.0,
    cut: bool = False,
    noise: float = 0.0,
    missing_face_s: float = 0.0,
) -> Clip:
    """Take ``take`` of ``person``: the same arguments give the same pictures and samples, bit for bit.

    See ``render_corpus`` for the arguments. Frame ``i`` shows the mouth of the sound at ``(i + 0.5) / fps`` seconds,
    the middle of the time it is seen (before ``offset_ms`` is applied).
    """

    def stream(number: int) -> np.random.Generator:
        return np.random.default_rng([*person.seed, take, number])

    cv2.setNumThreads(1)  # pictures are small; corpora are rendered by several processes
    times_s = np.arange(max(1, round(seconds * fps))) / fps
    lead_s = abs(offset_ms) / 1000
    utterance = speak_utterance(stream(_SPEECH), person.voice, seconds + 2 * lead_s, silence)
    middles_s = times_s + 0.5 / fps
    mouth_TC = mouth_track(utterance.phonemes, utterance.duration_s, middles_s + lead_s)
    mouth_TC[:, 0] *= person.look.opening_gain

    middle = len(times_s) // 2
    takes = [range(middle), range(middle, len(times_s))] if cut else [range(len(times_s))]
    absent_s = None
    if missing_face_s > 0:
        start_s = min(ABSENCE_CENTRE * seconds - missing_face_s / 2, seconds - missing_face_s)
        absent_s = max(start_s, 0.0), max(start_s, 0.0) + missing_face_s
    shots = []
    for number, (look, numbers) in enumerate(zip((person.look, person.second_look), takes, strict=False)):
        motion = draw_motion(stream(_MOTION * 10 + number), times_s, absent_s)
        rng = stream(_STAGE * 10 + number)
        zoom, shift = (FRAMING_ZOOM, FRAMING_SHIFT) if number == 0 else (CUT_ZOOM, CUT_SHIFT)
        framing = Framing(rng.uniform(*zoom), rng.uniform(-shift, shift), 0.4 * rng.uniform(-shift, shift))
        shots.append((Stage(look, size, rng, framing, noise), motion, numbers))
    return Clip(
        person=person,
        take=take,
        fps=fps,
        offset_ms=offset_ms,
        samples=_record(stream(_NOISE), utterance, lead_s - offset_ms / 1000, seconds, noise),
        mouth=mouth_TC,
        is_silent=utterance.is_silent(middles_s + lead_s),
        utterance=utterance,
        lead_s=lead_s,
        shots=shots,
    )


def _record(rng: np.random.Generator, utterance: Utterance, start_s: float, seconds: float, noise: float) -> np.ndarray:
    """The sound from ``start_s`` on, with the hiss of a recording: float32 (L,) in [-1, 1]."""
    start, length = round(start_s * SAMPLE_RATE), round(seconds * SAMPLE_RATE)
    samples_L = np.zeros(length, np.float32)
    spoken_L = utterance.samples[start : start + length]
    samples_L[: len(spoken_L)] = spoken_L
    hiss = float(10 ** (rng.uniform(*ROOM_NOISE_DB) / 20) + NOISE_AMPLITUDE * noise)
    return np.clip(samples_L + hiss * rng.standard_normal(length, np.float32), -1.0, 1.0)
