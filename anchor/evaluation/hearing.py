"""The referee's opinion over many clips, person by person, of drawn and of real mouths alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from anchor.evaluation.drawing import Drawn
from anchor.evaluation.measures import silent_frames
from anchor.evaluation.referee import Seen, Verdict, ask_referee, see_mouth
from anchor.timing import FPS

__all__ = ["Hearing"]

MIN_SOUNDING = FPS  # frames of a clip with sound: silence explains nothing


class Hearing:
    """Collects mouths by person; what they said is judged when all are there."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, list[Seen]]] = {}
        self.silent_clips = 0

    def listen(self, drawn: Drawn, kinds: tuple[str, ...]) -> None:
        """Add a pair: ``self``, ``dub`` and ``real`` of ``kinds``."""
        face, speech = drawn.face, drawn.speech
        if sounds(face.mel_SM, len(face)):
            if "real" in kinds:
                self._add("real", face.speaker, see_mouth(face.faces_TSSC, face.mel_SM))
            if "self" in kinds:
                self._add("self", face.speaker, see_mouth(drawn.own_TSSC, face.mel_SM))
        else:
            self.silent_clips += 1
        first = int(drawn.spoken[0])
        if "dub" in kinds and sounds(speech.mel_SM, len(speech)):
            self._add("dub", face.speaker, see_mouth(drawn.dub_TSSC, speech.mel_SM, first))

    def join(self, other: Hearing) -> None:
        """What ``other`` heard, too."""
        self.silent_clips += other.silent_clips
        for kind, persons in other._seen.items():
            for speaker, mouths in persons.items():
                for seen in mouths:
                    self._add(kind, speaker, seen)

    def _add(self, kind: str, speaker: str, seen: Seen) -> None:
        self._seen.setdefault(kind, {}).setdefault(speaker, []).append(seen)

    def verdicts(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Scores by kind (means over persons), and the mean curves by shift."""
        scores: dict[str, float] = {}
        curves: dict[str, Any] = {}
        for kind, persons in self._seen.items():
            found = [verdict for verdict in map(ask_referee, persons.values()) if verdict is not None]
            if found:
                scores |= {f"{kind}/{name}": value for name, value in _sum_up(found).items()}
                curves[kind] = [round(float(v), 5) for v in np.mean([one.curve for one in found], 0)]
        return scores, curves


def sounds(mel_SM: np.ndarray, num_frames: int) -> bool:
    """Whether there is a second that is not silence."""
    return int((~silent_frames(mel_SM, num_frames)).sum()) >= MIN_SOUNDING


def _sum_up(found: list[Verdict]) -> dict[str, float]:
    return {
        "referee_prefers_true": float(np.mean([one.prefers_true for one in found])),
        "referee_explained": float(np.mean([one.at_true for one in found])),
        "referee_margin": float(np.mean([one.margin for one in found])),
        "referee_offset_within_one": float(np.mean([abs(one.offset_frames) <= 1 for one in found])),
    }
