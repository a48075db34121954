"""A voice for the event loop: what `anchor speak` uses, called in a thread."""

from __future__ import annotations

import asyncio

import numpy as np

from anchor.serving.director import Speak
from anchor.speech.synthesis import EspeakSynthesizer, Synthesizer
from anchor.speech.text import Sentence

__all__ = ["in_a_thread"]


def in_a_thread(synthesizer: Synthesizer | None = None) -> Speak:
    """``synthesizer``, by default the embedded one, as the director calls it."""
    voice = synthesizer or EspeakSynthesizer()

    def make(sentence: Sentence) -> tuple[np.ndarray, int]:
        chunks = list(voice.stream(sentence))
        rate = chunks[0].sample_rate if chunks else 16_000
        return np.concatenate([chunk.samples for chunk in chunks] or [np.zeros(0, np.float32)]), rate

    async def speak(sentence: Sentence) -> tuple[np.ndarray, int]:
        return await asyncio.get_running_loop().run_in_executor(None, make, sentence)

    return speak
