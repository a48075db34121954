"""Voices that speak a sentence, each an async function; the embedded one needs nothing."""

from __future__ import annotations

import asyncio

import numpy as np

from anchor.speech import speak

__all__ = ["embedded_voice", "language_of"]


def language_of(text: str) -> str:
    """``"zh"`` where Chinese characters outnumber a third of the letters, else ``"en"``."""
    letters = [character for character in text if character.isalpha()]
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in letters)
    return "zh" if letters and 3 * chinese >= len(letters) else "en"


async def embedded_voice(
    text: str, english: str = "en-us", chinese: str = "cmn", rate: int = 165
) -> tuple[np.ndarray, int]:
    """espeak-ng's speech for a sentence, float32 mono, and its rate; the language is the sentence's own."""
    voice = chinese if language_of(text) == "zh" else english
    speech = await asyncio.get_running_loop().run_in_executor(None, lambda: speak(text, voice, rate))
    return speech.samples, speech.sample_rate
