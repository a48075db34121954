"""Text to sound: the interface that every voice has, and espeak-ng's, which needs nothing.

Shape suffix: L samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anchor.speech.espeak import ESPEAK_RATE, check_voice, speak
from anchor.speech.text import Sentence

__all__ = ["EspeakSynthesizer", "SoundChunk", "Synthesizer"]

VOICES = {"en": "en-us", "zh": "cmn", "ja": "ja", "ko": "ko", "ru": "ru"}


@dataclass(frozen=True)
class SoundChunk:
    """Some sound of a sentence, in order."""

    samples: np.ndarray  # float32 (L,) mono in [-1, 1]
    sample_rate: int


class Synthesizer(Protocol):
    """A voice. A streaming one yields chunks as they come; who no longer wants them closes the iterator."""

    name: str

    def stream(self, sentence: Sentence) -> Iterator[SoundChunk]:
        """The sound of ``sentence``, at one rate throughout."""
        ...


class EspeakSynthesizer:
    """espeak-ng, embedded: a voice for each language.

    Args:
        voices: espeak's names; each speaks the language it is of (``cmn`` Mandarin, ``fr`` all Latin script).
        rate: words per minute.

    Raises:
        ConfigError: espeak-ng has no such voice.
    """

    name = "espeak"

    def __init__(self, voices: Sequence[str] = (), rate: int = 165) -> None:
        self.rate, self.voices = rate, dict(VOICES)
        for voice in voices or ("en-us",):
            check_voice(voice, rate)
        for voice in voices:
            base = voice.partition("+")[0].partition("-")[0]
            self.voices["zh" if base in ("cmn", "yue", "hak") else base if base in VOICES else "en"] = voice

    def stream(self, sentence: Sentence) -> Iterator[SoundChunk]:
        """One chunk for each part: a sentence takes some milliseconds."""
        for text, language in sentence.parts:
            yield SoundChunk(speak(text, self.voices[language], self.rate).samples, ESPEAK_RATE)
