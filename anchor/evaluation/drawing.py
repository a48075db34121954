"""A face drawn with its own speech, with another's, and with silence; what all the measures look at.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB), P numbers of a pose; mel_SM: S mel steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from anchor.evaluation.clips import ClipShelf, EvaluationClip, Pair, resized
from anchor.inference import ReferenceKind, back_and_forth, choose_references, draw_frames, mouth_vector, pose_vector
from anchor.ops.references import lay_references
from anchor.ops.silence import close_pauses
from anchor.timing import FPS, MEL_FLOOR, mel_window

__all__ = ["SILENT_FRAMES", "Drawn", "draw_pair", "held_moments"]

SILENT_FRAMES = 4 * FPS  # that are drawn with nothing to say
HELD_FRAMES = 8 * FPS  # at most that are drawn with their speech held
HELD_PIECE = 2 * FPS  # for so long one moment's: some words pass, and a clip hears several moments


@dataclass(frozen=True)
class Drawn:
    """One generator's pictures of a pair, at the size that everything is measured at."""

    face: EvaluationClip
    speech: EvaluationClip
    references_T: np.ndarray  # for each frame of the face, the frame shown as its (first) reference
    own_TSSC: np.ndarray  # with its own speech
    dub_TSSC: np.ndarray  # with the speech of the pair
    silent_TSSC: np.ndarray  # its first frames, with nothing to say; empty where that was not asked
    closed_TSSC: np.ndarray  # with its own speech and silence=close: its pauses are no sound at all
    held_TSSC: np.ndarray  # its first frames, the speech held at one moment after the other; empty where not asked
    spoken: np.ndarray  # for each dubbed frame, the frame of the speech
    order: np.ndarray  # and the frame of the face


def draw_pair(
    generator: nn.Module,
    shelf: ClipShelf,
    pair: Pair,
    *,
    reference: ReferenceKind,
    batch_size: int = 16,
    with_silence: bool = True,
    with_held: bool = True,
    seen_on: ClipShelf | None = None,
) -> Drawn:
    """Draw with ``generator``, whose crops are those of ``shelf``; ``seen_on`` has another size to be measured at."""
    face, speech = shelf.read(pair.face), shelf.read(pair.speech)
    looks = [np.stack([look(crop) for crop in face.faces_TSSC]) for look in (pose_vector, mouth_vector)]
    num_references = getattr(generator, "num_references", 1)
    references_TR = choose_references(reference, np.zeros(len(face), int), *looks, count=num_references)
    spoken = np.arange(pair.shift, len(speech))
    order = back_and_forth(len(spoken), len(face))
    shown_TSSC = lay_references(face.faces_TSSC, references_TR)

    def draw(frames: np.ndarray, mel_SM: np.ndarray, heard: np.ndarray) -> np.ndarray:
        numbers = [int(frame) for frame in heard]
        return draw_frames(generator, face.faces_TSSC[frames], shown_TSSC[frames], mel_SM, numbers, batch_size)

    whole, count = np.arange(len(face)), min(len(face), SILENT_FRAMES) if with_silence else 0
    moments = held_moments(len(face)) if with_held else whole[:0]
    silence_SM = np.full((16, face.mel_SM.shape[1]), MEL_FLOOR, np.float32)
    pictures = [
        draw(whole, face.mel_SM, whole),
        draw(order, speech.mel_SM, spoken),
        draw(whole[:count], silence_SM, whole[:count]) if count else face.faces_TSSC[:0],
    ]
    closed_SM = close_pauses(face.mel_SM)
    hears_other = [bool((mel_window(closed_SM, t) != mel_window(face.mel_SM, t)).any()) for t in range(len(face))]
    changed = np.flatnonzero(hears_other)
    pictures.append(pictures[0].copy())
    if len(changed):
        pictures[3][changed] = draw(changed, closed_SM, changed)
    pictures.append(draw(whole[: len(moments)], face.mel_SM, moments))
    if seen_on is not None and seen_on.image_size != shelf.image_size:
        pictures = [resized(some, seen_on.image_size) if len(some) else some for some in pictures]
        face, speech = seen_on.read(pair.face), seen_on.read(pair.speech)
        pictures = [some if len(some) else face.faces_TSSC[:0] for some in pictures]
    own_TSSC, dub_TSSC, silent_TSSC, closed_TSSC, held_TSSC = pictures
    return Drawn(
        face, speech, references_TR[:, 0], own_TSSC, dub_TSSC, silent_TSSC, closed_TSSC, held_TSSC, spoken, order
    )


def held_moments(num_frames: int) -> np.ndarray:
    """For each of a clip's first 8 s of frames, the frame whose speech is held there: the middle of its two seconds."""
    frames = np.arange(min(num_frames, HELD_FRAMES))
    begins = frames - frames % HELD_PIECE
    return (begins + np.minimum(begins + HELD_PIECE, len(frames))) // 2
