"""A text as one sound, and when each of its sentences is heard. Shape suffix: L samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torchaudio.functional as audio_functional

from anchor.errors import ConfigError
from anchor.speech.synthesis import Synthesizer
from anchor.speech.text import Sentence

__all__ = ["PAUSE_S", "SOUND_RATE", "Narration", "narrate", "resample"]

SOUND_RATE = 48_000  # Hz
LEAD_S, PAUSE_S, TAIL_S = 0.4, 0.25, 0.6
MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class Narration:
    """What is heard."""

    samples: np.ndarray  # float32 (L,) at 48 kHz
    times: list[tuple[float, float]]  # of each sentence, seconds


def narrate(
    sentences: Sequence[Sentence | None], voice: Synthesizer, rests_s: Sequence[float] | None = None
) -> Narration:
    """The sentences one after the other, with a rest before, between and after.

    ``rests_s`` are the seconds of silence after each; None among the sentences has no sound of its own.

    Raises:
        ConfigError: it would be longer than an hour.
    """
    pieces, times = [np.zeros(round(LEAD_S * SOUND_RATE), np.float32)], []
    at = len(pieces[0])
    for sentence, rest_s in zip(sentences, rests_s or [PAUSE_S] * len(sentences), strict=True):
        rest = np.zeros(round(rest_s * SOUND_RATE), np.float32)
        if sentence is None:
            times.append((at / SOUND_RATE, at / SOUND_RATE))
            pieces.append(rest)
            at += len(rest)
            continue
        runs = itertools.groupby(voice.stream(sentence), key=lambda chunk: chunk.sample_rate)
        sound = np.concatenate(
            [resample(np.concatenate([chunk.samples for chunk in run]), rate, SOUND_RATE) for rate, run in runs]
        )
        times.append((at / SOUND_RATE, (at + len(sound)) / SOUND_RATE))
        pieces += [sound, rest]
        at += len(sound) + len(pieces[-1])
        if at > MAX_SECONDS * SOUND_RATE:
            raise ConfigError("The text is longer than an hour of speech. Give a part of it.")
    pieces.append(np.zeros(round((TAIL_S - PAUSE_S) * SOUND_RATE), np.float32))
    return Narration(np.concatenate(pieces), times)


def resample(samples_L: np.ndarray, old: int, new: int) -> np.ndarray:
    """float32 (L,) at ``new`` Hz."""
    if old == new:
        return samples_L
    return audio_functional.resample(torch.from_numpy(np.ascontiguousarray(samples_L)), old, new).numpy()
