"""Drawn people in memory: training data that needs no files.

Shape suffixes: T frames, N asked-for frames, H W pixels, C colour (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from anchor.faces.crop import crop_face
from anchor.ops.mel import log_mel
from anchor.synth.cast import Person, clip_stem, draw_person
from anchor.synth.clip import make_clip
from anchor.synth.speakers import PICTURE_UNITS
from anchor.timing import FPS

__all__ = ["SyntheticSource"]

FACE_UNITS = 82.0  # about the height of the tallest truth box: pictures are drawn so that crops keep their scale


@dataclass(frozen=True)
class _Take:
    """One rendered clip."""

    crops: np.ndarray  # uint8 RGB (T, H, W, 3)
    mel: np.ndarray  # float32 (steps, 80)
    samples: np.ndarray  # float32 (L,)
    truth: dict[str, Any]


class SyntheticSource:
    """A ``ClipSource`` of drawn people: every clip is rendered when it is first read, and kept.

    Of the ``speakers`` people the last ``val_speakers`` are for validation; no one in training has a look or a voice
    of theirs. Crops are ``image_size`` x ``image_size`` pixels, cut by the truth box, which is the
    canonical box of ``anchor.faces``.
    """

    def __init__(
        self,
        *,
        speakers: int = 8,
        clips: int = 2,
        seconds: float = 2.0,
        image_size: int = 96,
        seed: int = 0,
        val_speakers: int = 2,
    ) -> None:
        _check(speakers=(speakers, 1, 1000), clips=(clips, 1, 100), seconds=(seconds, 0.2, 600))
        _check(image_size=(image_size, 32, 400), seed=(seed, 0, 2**31), val_speakers=(val_speakers, 0, 1000))
        if val_speakers >= speakers:
            raise ConfigError(
                f"val_speakers={val_speakers} of speakers={speakers} leaves no one to train on. Ask for more speakers."
            )
        self.image_size, self._seconds = image_size, seconds
        people = [(draw_person(seed, number), "train") for number in range(speakers - val_speakers)]
        people += [(draw_person(seed, number, held_out=True), "val") for number in range(val_speakers)]
        self.clips: list[ClipEntry] = [
            ClipEntry(
                key=clip_stem(person.name, take),
                speaker=person.name,
                split=split,
                num_frames=max(1, round(seconds * FPS)),
                location=(person, take),
            )
            for person, split in people
            for take in range(clips)
        ]
        self._takes: dict[str, _Take] = {}

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        """uint8 RGB crops (N, H, W, 3) of the numbered frames."""
        return self._take(clip).crops[list(frames)]

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        """float32 log-mel of the whole clip (steps, 80)."""
        return self._take(clip).mel

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        """float32 mono waveform at 16 kHz in [-1, 1]."""
        return self._take(clip).samples

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        """Whose clip it is, and its truth as ``anchor synth`` writes it; boxes are those of the whole picture."""
        return {"key": clip.key, "speaker": clip.speaker, "split": clip.split, "truth": self._take(clip).truth}

    def _take(self, clip: ClipEntry) -> _Take:
        if clip.key not in self._takes:
            self._takes[clip.key] = self._render(*clip.location)
        return self._takes[clip.key]

    def _render(self, person: Person, take: int) -> _Take:
        size = 2 * round(self.image_size * PICTURE_UNITS / FACE_UNITS / 2)
        clip = make_clip(person, take, seconds=self._seconds, size=size, fps=FPS)
        boxes = clip.boxes()
        crops = []
        for picture, box in zip(clip.frames(), boxes, strict=True):
            assert box is not None, "a face left the picture, and nobody asked for it"
            crops.append(crop_face(picture, box, self.image_size))
        return _Take(np.stack(crops), log_mel(clip.samples), clip.samples, clip.truth())


def _check(**limits: tuple[float, float, float]) -> None:
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ConfigError(f"{name}={value} is out of range. Choose from {low:g} to {high:g}.")
