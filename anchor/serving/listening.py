"""A session that listens: its microphone's sound is cut into utterances, and each is recognised and answered.

Whoever begins to speak interrupts the anchor. What the anchor itself says, and a loudspeaker gives back to the
microphone, is known here and does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi import WebSocket

from anchor.errors import AnchorError, ConfigError, ServiceError
from anchor.serving.conversation import Talks
from anchor.serving.incoming import SoundLine
from anchor.serving.live import Live
from anchor.serving.timeline import HEARD_COLUMN
from anchor.speech.activity import PIECE, VoiceActivity
from anchor.speech.recognition import Recognizer

__all__ = ["Ear", "Ears", "listen"]

MOST_WAITING = 2  # utterances that wait to be recognised; more are left out, and that is said
PATIENCE_S = 30.0  # for a recogniser
MOST_WORDS = 2000  # characters of an utterance


class Ears:
    """Who recognises, for all sessions: one utterance after the other, in a thread."""

    def __init__(self, recognizer: Recognizer | None) -> None:
        self._recognizer = recognizer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hearing")

    @property
    def can_hear(self) -> bool:
        """Whether there is a recogniser."""
        return self._recognizer is not None

    async def recognise(self, samples_L: np.ndarray) -> str:
        """The words in float32 (L,) of 16 kHz.

        Raises:
            ServiceError: the recogniser failed, or takes too long.
        """
        assert self._recognizer is not None
        loop, name = asyncio.get_running_loop(), self._recognizer.name
        work = loop.run_in_executor(self._thread, self._recognizer.hear, samples_L)
        done, _ = await asyncio.wait([work], timeout=PATIENCE_S)
        if not done:
            raise ServiceError(f"The recogniser {name} has not answered for {PATIENCE_S:.0f} s.")
        try:
            return work.result()[:MOST_WORDS]
        except Exception as error:  # of a library that is not ours
            raise ServiceError(f"The recogniser {name} failed: {type(error).__name__}: {error}.") from None


class Ear:
    """One microphone of one session.

    Events: ``listening`` when somebody begins to speak, ``heard`` with the words, ``failed`` with a reason.
    """

    def __init__(self, live: Live, ears: Ears, talks: Talks) -> None:
        self._live, self._ears, self._talks = live, ears, talks
        self._activity = VoiceActivity()
        self._rest_L = np.zeros(0, np.float32)
        self._waiting: asyncio.Queue[np.ndarray] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to listen."""
        self._live.session.taps.add(self._play)
        self._task = asyncio.get_running_loop().create_task(self._answer())

    async def close(self) -> None:
        """Listen no more; what was being recognised is forgotten."""
        self._live.session.taps.discard(self._play)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def add(self, samples_L: np.ndarray) -> None:
        """Take sound of 16 kHz, float32 (L,)."""
        heard_L = np.concatenate([self._rest_L, samples_L])
        end = len(heard_L) // PIECE * PIECE
        self._rest_L = heard_L[end:]
        for begin in range(0, end, PIECE):
            what = self._activity.add(heard_L[begin : begin + PIECE])
            if what == "begins":
                self._live.tell("listening", {})
                if self._live.is_speaking:
                    await self._live.director.interrupt()
            elif what == "ends":
                try:
                    self._waiting.put_nowait(self._activity.take())
                except asyncio.QueueFull:
                    self._live.tell("note", {"text": "What was said was left out: the recogniser is not so quick."})

    def _play(self, sound_L4: np.ndarray) -> None:
        self._activity.play(sound_L4[:, HEARD_COLUMN])

    async def _answer(self) -> None:
        while True:
            said_L = await self._waiting.get()
            try:
                words = await self._ears.recognise(said_L)
                self._live.tell("heard", {"text": words})
                if words and self._talks.can_answer:
                    self._talks.ask(self._live, words)
            except ConfigError:  # nothing that is a word
                continue
            except (AnchorError, RuntimeError) as error:
                self._live.tell("failed", {"reason": str(error)})


async def listen(ears: Ears, talks: Talks, socket: WebSocket, live: Live) -> None:
    """A microphone: ``{"rate": 16000}``, then int16 pieces for as long as it is open, silence and all.

    Raises:
        ConfigError: there is no recogniser, or what comes is no sound.
    """
    if not ears.can_hear:
        raise ConfigError("Nobody listens here. Start anchor serve with asr=KIND:DIR.")
    ear, line = Ear(live, ears, talks), SoundLine(socket, live)
    ear.open()
    try:
        while True:
            what, sound_L4 = await line.read()
            if what == "ends":
                return
            if sound_L4 is not None:
                await ear.add(sound_L4[:, HEARD_COLUMN])
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await ear.close()
