"""A session that listens: its microphone's sound is cut into utterances, and each is recognised and answered.

Whoever begins to speak interrupts the anchor. What the anchor itself says, and a loudspeaker gives back to the
microphone, is known here and does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

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
    """Who recognises, for all sessions: one utterance after the other, in a thread.

    A recogniser that hangs keeps its thread and its memory, for Python cannot end a thread. But nothing waits behind
    it: who comes meanwhile is told at once, and when it answers after all the next utterance is heard again. The
    thread is a daemon: it does not hold up the end of the server.
    """

    def __init__(self, recognizer: Recognizer | None) -> None:
        self._recognizer = recognizer
        self._turn = asyncio.Lock()
        self._work: asyncio.Future[str | Exception] | None = None  # what was begun last
        self._hangs_since = 0.0  # s, as time.monotonic counts; 0 where it does not

    @property
    def can_hear(self) -> bool:
        """Whether there is a recogniser."""
        return self._recognizer is not None

    async def recognise(self, samples_L: np.ndarray) -> str:
        """The words in float32 (L,) of 16 kHz.

        Raises:
            HangingError: the recogniser has not answered for long, now or already when it was asked.
            ServiceError: the recogniser failed.
        """
        assert self._recognizer is not None
        name = self._recognizer.name
        async with self._turn:
            await self._wait()  # for what a session that has gone left behind
            self._work = work = self._begin(samples_L)
            await self._wait()
        found = work.result()
        if isinstance(found, Exception):
            raise ServiceError(f"The recogniser {name} failed: {type(found).__name__}: {found}.") from None
        return found[:MOST_WORDS]

    async def _wait(self) -> None:
        """For the end of what was begun last; raises a ``HangingError`` where it does not come."""
        if self._work is None:
            return
        if not self._work.done() and not self._hangs_since:
            began = time.monotonic()
            await asyncio.wait([self._work], timeout=PATIENCE_S)
            self._hangs_since = began
        if not self._work.done():
            assert self._recognizer is not None
            raise HangingError(
                f"The recogniser {self._recognizer.name} has not answered for "
                f"{time.monotonic() - self._hangs_since:.0f} s. Nothing is recognised until it does."
            )
        self._hangs_since = 0.0

    def _begin(self, samples_L: np.ndarray) -> asyncio.Future[str | Exception]:
        assert self._recognizer is not None
        loop, hear = asyncio.get_running_loop(), self._recognizer.hear
        work: asyncio.Future[str | Exception] = loop.create_future()

        def run() -> None:
            found: str | Exception
            try:
                found = hear(samples_L)
            except Exception as error:  # of a library that is not ours
                found = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(work.set_result, found)

        threading.Thread(target=run, daemon=True, name="hearing").start()
        return work


class HangingError(ServiceError):
    """The recogniser does not answer."""


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
        self._has_told_hanging = False

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
                self._has_told_hanging = False
                self._live.tell("heard", {"text": words})
                if words and self._talks.can_answer:
                    self._talks.ask(self._live, words)
            except ConfigError:  # nothing that is a word
                continue
            except HangingError as error:  # told once, and not for every word that is said meanwhile
                if not self._has_told_hanging:
                    self._live.tell("failed", {"reason": str(error)})
                self._has_told_hanging = True
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
