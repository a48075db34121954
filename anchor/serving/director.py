"""From text to a session's timeline: sentence by sentence, so that the first word is heard while the rest is made.

Whatever belongs to an utterance carries its epoch: an interruption cancels the task, and what arrives after it all the
same is refused by the timeline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import numpy as np

from anchor.errors import AnchorError
from anchor.serving.session import Session
from anchor.serving.sound import SoundMaker
from anchor.serving.voices import Speak
from anchor.speech.text import Sentence, clean_text, split_sentences

__all__ = ["MOST_TEXT", "Director"]

MOST_TEXT = 10_000  # characters at once, about ten minutes
AHEAD_S = 2.0  # of speech beyond what is heard: more would be made in vain when somebody interrupts


@dataclass
class _Utterance:
    number: int
    sentences: AsyncGenerator[Sentence, None]


class Director:
    """What one session is told to say, in order.

    Args:
        session: the one that speaks.
        speak: makes the sound of a sentence piece by piece; it may take its time, and an interruption cancels it.
        on_event: called with (what happened, about what).
    """

    def __init__(self, session: Session, speak: Speak, on_event: Callable[[str, dict[str, object]], None]) -> None:
        self._session, self._speak, self._on_event = session, speak, on_event
        self._queue: asyncio.Queue[_Utterance] = asyncio.Queue()
        self._next = 0
        self._task: asyncio.Task[None] | None = None
        self._current: _Utterance | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anything is being made or waits to be."""
        return self._current is not None or not self._queue.empty()

    def say(self, sentences: AsyncGenerator[Sentence, None] | str) -> int:
        """Queue a text, or the sentences of a stream as they come; returns the utterance's number.

        Raises:
            ConfigError: the text has no word.
        """
        if isinstance(sentences, str):
            text, notes = clean_text(sentences)
            stream = _as_stream(split_sentences(text))
            for note in notes:
                self._on_event("note", {"text": note})
        else:
            stream = sentences
        self._next += 1
        self._queue.put_nowait(_Utterance(self._next, stream))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._next

    async def interrupt(self) -> float:
        """Forget everything that was to be said; the seconds of finished speech that nobody will hear."""
        dropped_s = self._session.interrupt()
        await self._stop()
        return dropped_s

    async def close(self) -> None:
        """End."""
        await self._stop()

    async def _stop(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
        task, self._task = self._task, None
        self._current = None
        while task is not None and not task.done():  # what it waits for may swallow a cancellation
            task.cancel()
            await asyncio.wait([task], timeout=0.5)

    async def _run(self) -> None:
        while True:
            self._current = None
            self._current = utterance = await self._queue.get()
            await self._utter(utterance)

    async def _utter(self, utterance: _Utterance) -> None:
        timeline = self._session.timeline
        epoch, count = timeline.epoch, 0
        self._on_event("utterance", {"number": utterance.number, "epoch": epoch})
        try:
            async with contextlib.aclosing(utterance.sentences) as sentences:
                async for sentence in sentences:
                    self._on_event("sentence", {"number": utterance.number, "text": sentence.text, "epoch": epoch})
                    if not await self._sound(sentence, epoch):
                        return
                    count += 1
        except Exception as error:  # whatever it is: the next utterance is spoken
            reason = str(error) if isinstance(error, AnchorError) else f"{type(error).__name__}: {error}"
            self._on_event("failed", {"number": utterance.number, "reason": reason})
        finally:
            timeline.say(np.zeros((0, 4), np.float32), epoch, is_last=True)
        self._on_event("uttered", {"number": utterance.number, "sentences": count})

    async def _sound(self, sentence: Sentence, epoch: int) -> bool:
        """Have a sentence spoken into the timeline; says whether it was taken to its end."""
        timeline, maker, rate = self._session.timeline, None, 0
        nothing_L = np.zeros(0, np.float32)
        async with contextlib.aclosing(self._speak(sentence, self._tell_voice)) as chunks:
            async for chunk in chunks:
                if maker is None or chunk.sample_rate != rate:
                    if maker is not None:
                        timeline.say(maker.add(nothing_L, is_last=True), epoch, is_last=False)
                    maker, rate = SoundMaker(chunk.sample_rate), chunk.sample_rate
                if not timeline.say(maker.add(chunk.samples), epoch, is_last=False):
                    return False
                while timeline.waiting_s > AHEAD_S:
                    await asyncio.sleep(0.05)
        return maker is None or timeline.say(maker.add(nothing_L, is_last=True), epoch, is_last=False)

    def _tell_voice(self, reason: str) -> None:
        self._on_event("voice", {"reason": reason})


async def _as_stream(sentences: list[Sentence]) -> AsyncGenerator[Sentence, None]:
    for sentence in sentences:
        yield sentence
