"""Which voice speaks: ``tts=`` of `anchor speak` and `anchor serve`, voices in order of preference.

An item is ``espeak``, ``piper:FILE``, ``sherpa:DIR``, ``edge:NAME`` or ``KIND:URL`` of :mod:`anchor.speech.remote`,
each for all languages, or for one: ``zh=xtts:URL``. A sentence is spoken by the first that speaks its language; where
that one fails, by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anchor.arguments import user_path
from anchor.errors import AnchorError, ConfigError, ServiceError
from anchor.speech.remote import KINDS, HttpVoice
from anchor.speech.synthesis import VOICES, EspeakSynthesizer, SoundChunk, Synthesizer
from anchor.speech.text import Sentence

__all__ = ["Threaded", "Voice", "VoiceChain", "open_voices"]

REST_S = 15.0  # for so long a voice that failed is not asked again, if another can speak
LANGUAGES = tuple(VOICES)


class Voice(Protocol):
    """A voice for an event loop; who no longer wants its sound closes the iterator, or is cancelled."""

    name: str

    def flow(self, sentence: Sentence) -> AsyncGenerator[SoundChunk, None]:
        """The sound of ``sentence`` as it comes; raises a ``ServiceError`` where it fails."""
        ...


class Threaded:
    """A :class:`Synthesizer` as a :class:`Voice`: each of its chunks is made in a thread."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer, self.name = synthesizer, synthesizer.name

    async def flow(self, sentence: Sentence) -> AsyncGenerator[SoundChunk, None]:
        """The chunks of ``stream``."""
        loop, chunks = asyncio.get_running_loop(), iter(self._synthesizer.stream(sentence))
        while True:
            try:
                chunk = await loop.run_in_executor(None, next, chunks, None)
            except AnchorError:
                raise
            except Exception as error:  # of a library that is not ours
                raise ServiceError(f"The voice {self.name} failed: {type(error).__name__}: {error}") from error
            if chunk is None:
                return
            yield chunk


@dataclass
class _Item:
    voice: Voice
    language: str  # empty for all
    rests_until: float = 0.0

    def speaks(self, language: str) -> bool:
        return self.language in ("", language)


class VoiceChain:
    """Voices in order of preference, as one.

    Args:
        items: (voice, the language it is for or an empty string).
        rest_s: for how long one that failed is passed over.
    """

    name = "voices"

    def __init__(self, items: Sequence[tuple[Voice, str]], rest_s: float = REST_S) -> None:
        self._items, self._rest_s = [_Item(voice, language) for voice, language in items], rest_s

    async def flow(
        self, sentence: Sentence, tell: Callable[[str], None] = print, is_whole: bool = False
    ) -> AsyncGenerator[SoundChunk, None]:
        """The sound of ``sentence``; ``tell`` is given a sentence where one voice had to stand in for another.

        A voice that breaks off in the middle is followed by the whole sentence in the next one's: no word is lost.
        With ``is_whole`` nothing of it is given out before all of it is there.

        Raises:
            ServiceError: none of the voices could speak.
        """
        for part, candidates in self._plan(sentence):
            async with contextlib.aclosing(self._speak(part, candidates, tell, is_whole)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def stream(self, sentence: Sentence) -> Iterator[SoundChunk]:
        """The same without an event loop, once all of it is there; a voice that stands in says so on the terminal."""

        def tell(text: str) -> None:
            print(f"  {text}", flush=True)

        async def gather() -> list[SoundChunk]:
            return [chunk async for chunk in self.flow(sentence, tell, is_whole=True)]

        yield from asyncio.run(gather())

    def _plan(self, sentence: Sentence) -> list[tuple[Sentence, list[_Item]]]:
        """The sentence, cut where another language is another voice's."""
        able = [(part, [item for item in self._items if item.speaks(part[1])]) for part in sentence.parts]
        for (_, language), items in able:
            if not items:
                raise ServiceError(f"No voice of tts= speaks {language}. Add espeak as the last one.")
        if all(items[0] is able[0][1][0] for _, items in able):
            return [(sentence, able[0][1])]
        runs = itertools.groupby(able, key=lambda one: id(one[1][0]))
        plan = []
        for _, run in runs:
            found = list(run)
            parts = tuple(part for part, _ in found)
            plan.append((Sentence(" ".join(text for text, _ in parts), parts), found[0][1]))
        return plan

    async def _speak(
        self, sentence: Sentence, items: list[_Item], tell: Callable[[str], None], is_whole: bool
    ) -> AsyncGenerator[SoundChunk, None]:
        now = time.monotonic()
        ready = [item for item in items if item.rests_until <= now] or items[-1:]
        for place, item in enumerate(ready):
            kept: list[SoundChunk] = []
            try:
                async with contextlib.aclosing(item.voice.flow(sentence)) as chunks:
                    async for chunk in chunks:
                        sound = SoundChunk(np.clip(np.nan_to_num(chunk.samples), -1, 1), chunk.sample_rate)
                        if is_whole:
                            kept.append(sound)
                        else:
                            yield sound
            except AnchorError as error:
                item.rests_until = time.monotonic() + self._rest_s
                if place + 1 == len(ready):
                    raise ServiceError(str(error)) from None
                tell(f"{error} {ready[place + 1].voice.name} speaks instead.")
            else:
                for sound in kept:
                    yield sound
                return


def open_voices(items: Sequence[str], espeak: Sequence[str] = (), rate: int = 165) -> VoiceChain:
    """The voices of ``tts=``; ``espeak`` and ``rate`` are the embedded one's names and words per minute.

    Raises:
        ConfigError: an item is none, or its voice cannot be used; says why.
    """
    return VoiceChain([_open(item, espeak, rate) for item in items or ("espeak",)])


def _open(item: str, espeak: Sequence[str], rate: int) -> tuple[Voice, str]:
    language, equals, rest = item.partition("=")
    if not equals or ":" in language:
        language, rest = "", item
    elif language not in LANGUAGES:
        raise ConfigError(f"tts={item}: {language!r} is no language. Languages are {', '.join(LANGUAGES)}.")
    kind, _, where = rest.partition(":")
    if kind in KINDS:
        return HttpVoice(kind, where), language
    if kind == "edge":
        from anchor.speech.edge import EdgeVoice

        return EdgeVoice(where), language
    if kind in ("piper", "sherpa"):
        from anchor.speech.local import PiperSynthesizer, SherpaSynthesizer

        path = user_path("tts", where)
        return Threaded(PiperSynthesizer(path) if kind == "piper" else SherpaSynthesizer(path)), language
    if kind == "espeak":
        return Threaded(EspeakSynthesizer((where,) if where else espeak, rate)), language
    raise ConfigError(
        f"tts={item}: there is no voice of kind {kind!r}. Kinds are espeak, piper, sherpa, edge, {', '.join(KINDS)}; "
        "for one language alone, write zh= before it."
    )
