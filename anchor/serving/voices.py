"""What a director calls to have a sentence spoken."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from anchor.speech.synthesis import SoundChunk
from anchor.speech.text import Sentence

__all__ = ["Speak"]

# To pieces of sound as they come; the second argument is told, in a sentence, when another voice had to stand in.
Speak = Callable[[Sentence, Callable[[str], None]], AsyncGenerator[SoundChunk, None]]
