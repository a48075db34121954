"""Whether sound and lips belong together: measured per face, corrected once per clip, before mel and sound are cut.

Shape suffixes: L samples, S mel steps, M mel bins.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sync import MouthLog, measure_offset
from anchor.preprocess.sync.offset import Limits, measure_stretches
from anchor.timing import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, num_frames

__all__ = ["FaceTiming", "Settled", "measure_face", "settle_offset"]

# Less is left alone: nobody notices sound that is 45 ms early (ITU-R BT.1359-1), it is hardly more than a frame, and
# the measurement itself is up to 30 ms off (docs/sync.md).
LEAST_MS = 45.0
MIN_SHOT = 3 * FPS  # frames of a shot that is asked
SAME_MS = 80.0  # two frames
# Spreads of chance by which a shot too short to be measured may prefer another offset: of drawn shots the true one lay
# within 0.1 of the best, a wrong one 3.1 or more below (benchmarks/short_shots.py).
MAX_GAP = 1.5

Status = Literal["established", "not established", "no match", "not measured"]


@dataclass(frozen=True)
class FaceTiming:
    """How one face's lips and the sound lie to each other, as recorded."""

    status: Status = "not measured"
    offset_ms: float | None = None  # above 0 the sound is late
    confidence: float | None = None
    reason: str = ""  # what was found, for the user


@dataclass(frozen=True)
class Settled:
    """The sound on the clock of the lips."""

    samples_L: np.ndarray
    corrected_ms: float  # the sound was late by this, and is no longer
    frames: range  # of the clip that have sound now
    faces: Mapping[int | None, FaceTiming]  # by the number of the face

    def is_refused(self, face: int | None, settings: ClipSettings) -> bool:
        """Whether this face is left out because the sound is not its own.

        With faces=speaking only frames are left in which a mouth moves with the sound: that has been asked already.
        """
        if settings.faces == "speaking":
            return False
        return settings.on_no_match == "refuse" and self.faces[face].status == "no match"

    def facts(self) -> dict[str, Any]:
        """For the report: the face that decided, and every one where there are several."""
        first = _decisive(self.faces)
        found = {"corrected_ms": self.corrected_ms, **_facts(first)}
        if len(self.faces) > 1:
            found["faces"] = {str(number): _facts(face) for number, face in self.faces.items()}
        return found


def measure_face(mouth: MouthLog, mel_SM: np.ndarray, cuts: Sequence[int] = ()) -> FaceTiming:
    """How late the sound, whose log-mel is ``mel_SM``, is for one face; ``cuts`` are the first frames of new shots.

    What was cut together may come from several recordings: an offset is established only where no shot speaks against
    it. One long enough to be measured alone must give the same; a shorter one must at least prefer it to others.
    """
    found = measure_offset(mouth, mel_SM)
    timing = FaceTiming(found.status, found.offset_ms, found.confidence, found.reason)
    offset_ms = found.offset_ms
    if offset_ms is None or found.status != "established":
        return timing
    for first, stop in itertools.pairwise([0, *cuts, sys.maxsize] if cuts else [0]):
        shot = [stretch for stretch in mouth.stretches() if first <= stretch.start < stop]
        frames = sum(len(stretch.mouth) for stretch in shot)
        if frames < MIN_SHOT:
            continue
        own = measure_stretches(shot, mel_SM, Limits(min_frames=MIN_SHOT))
        peak = max((score for _, score in own.curve), default=0.0)
        here = max((score for at_ms, score in own.curve if abs(at_ms - offset_ms) <= 40), default=0.0)
        if frames >= Limits().min_frames:
            agrees = own.offset_ms is not None and abs(own.offset_ms - offset_ms) <= SAME_MS
        else:
            agrees = peak - here <= MAX_GAP
        if not agrees:
            whole = f"the clip as a whole says {offset_ms:+.0f} ms"
            reason = f"the shots disagree: {whole}, the shot from {first / FPS:.1f} s {own}"
            return FaceTiming("not established", None, found.confidence, reason)
    return timing


def settle_offset(
    faces: Mapping[int | None, FaceTiming], samples_L: np.ndarray, total: int, settings: ClipSettings
) -> Settled:
    """Shift the sound (L,) of a clip of ``total`` frames by what was measured, exact to a sample.

    With several faces the surest decides: lips that another voice belongs to match no shift. What had no sound or has
    none after the shift is left out of ``frames``.
    """
    decisive = _decisive(faces)
    late = 0
    offset_ms = decisive.offset_ms or 0.0
    if settings.offset == "correct" and decisive.status == "established" and abs(offset_ms) >= LEAST_MS:
        late = round(offset_ms * SAMPLE_RATE / 1000)
    shifted_L = samples_L[late:] if late >= 0 else np.concatenate([np.zeros(-late, samples_L.dtype), samples_L])
    first = -(min(late, 0) // SAMPLES_PER_FRAME)  # the first frame all of whose sound was recorded
    last = min(total, num_frames(len(shifted_L)))
    return Settled(shifted_L, late * 1000 / SAMPLE_RATE, range(min(first, last), last), dict(faces))


def _decisive(faces: Mapping[int | None, FaceTiming]) -> FaceTiming:
    order: tuple[Status, ...] = ("not measured", "no match", "not established", "established")
    return max(faces.values(), key=lambda face: (order.index(face.status), face.confidence or 0.0))


def _facts(face: FaceTiming) -> dict[str, Any]:
    return {"status": face.status, "offset_ms": face.offset_ms, "confidence": face.confidence, "reason": face.reason}
