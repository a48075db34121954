"""Clips with sound, side by side: the real face and every generator, in step.

Shape suffixes: T frames, S side in pixels, C colour (RGB), L samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anchor.evaluation.drawing import Drawn
from anchor.media.writer import write_video
from anchor.timing import FPS, SAMPLES_PER_FRAME

__all__ = ["Film", "film_dub", "film_own", "write_film"]

MAX_FRAMES = 6 * FPS
PANEL_PX = 224  # at least, so that small crops can be looked at
LABEL_PX, FOOT_PX = 26, 44  # the foot is where players lay their controls: the mouths stay in sight
INK = 28  # grey of the bars
CRF = 24  # of H.264: half a megabyte for six seconds of four panels


@dataclass(frozen=True)
class Film:
    """Panels of one length, and the sound that all of them speak."""

    title: str
    panels: list[tuple[str, np.ndarray]]  # label, uint8 (T, S, S, C)
    sound_L: np.ndarray


def film_own(drawn_by: dict[str, Drawn], sound_L: np.ndarray) -> Film:
    """A face with its own speech: real, then as each generator draws it."""
    face = next(iter(drawn_by.values())).face
    panels = [("real", face.faces_TSSC)] + [(label, drawn.own_TSSC) for label, drawn in drawn_by.items()]
    return _cut(f"{face.key}, own speech", panels, sound_L)


def film_dub(drawn_by: dict[str, Drawn], sound_L: np.ndarray) -> Film:
    """A face with another's speech: the real speaker of it, then the dubbed face; ``sound_L`` is that of the speech."""
    drawn = next(iter(drawn_by.values()))
    first = int(drawn.spoken[0])
    panels = [("real speaker", drawn.speech.faces_TSSC[first:])]
    panels += [(label, one.dub_TSSC) for label, one in drawn_by.items()]
    title = f"{drawn.face.key} speaks {drawn.speech.key}"
    return _cut(title, panels, sound_L[first * SAMPLES_PER_FRAME :])


def write_film(film: Film, path: Path) -> None:
    """An mp4 with sound.

    Raises:
        MediaError: it cannot be written.
    """
    write_video(path, _frames(film), audio=film.sound_L, crf=CRF, threads=1)


def _cut(title: str, panels: list[tuple[str, np.ndarray]], sound_L: np.ndarray) -> Film:
    length = min(MAX_FRAMES, *(len(faces) for _, faces in panels))
    samples = sound_L[: length * SAMPLES_PER_FRAME]
    return Film(title, [(label, faces[:length]) for label, faces in panels], samples)


def _frames(film: Film) -> Iterator[np.ndarray]:
    size = max(PANEL_PX, film.panels[0][1].shape[1])
    labels = [_label(text, size) for text, _ in film.panels]
    for number in range(len(film.panels[0][1])):
        pictures = [_scaled(faces[number], size) for _, faces in film.panels]
        row = np.hstack([np.vstack(both) for both in zip(labels, pictures, strict=True)])
        yield np.vstack([row, np.full((FOOT_PX, row.shape[1], 3), INK, np.uint8)])


def _scaled(face: np.ndarray, size: int) -> np.ndarray:
    return face if face.shape[0] == size else cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)


def _label(text: str, width: int) -> np.ndarray:
    bar = np.full((LABEL_PX, width, 3), INK, np.uint8)
    cv2.putText(bar, text.encode("ascii", "replace").decode(), (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5,
                (235, 235, 235), 1, cv2.LINE_AA)  # fmt: skip
    return bar
