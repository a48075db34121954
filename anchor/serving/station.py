"""Everything that is on air on this machine: avatars, the drawing process, sessions, and how many of them fit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import AnchorError, ConfigError
from anchor.ops.mel import log_mel
from anchor.serving.admission import Admission, Settings
from anchor.serving.director import Director
from anchor.serving.drawer import Drawer
from anchor.serving.drawing import Drawn, Load
from anchor.serving.journal import Journal
from anchor.serving.live import QUIET, Live
from anchor.serving.metrics import Histogram
from anchor.serving.pulse import Pulse
from anchor.serving.session import Session, SessionStats
from anchor.serving.shelf import Changes, OpenAvatar, Shelf
from anchor.serving.timeline import HEARD
from anchor.serving.voices import Speak
from anchor.speech.text import clean_text
from anchor.speech.voices import open_voices

__all__ = ["Live", "Station", "UnknownError"]


class UnknownError(AnchorError, KeyError):
    """There is no session or avatar of that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Station:
    """All of it. One event loop; everything here is called in it.

    Args:
        open_avatar: makes an avatar of a path in the server's memory; called in a thread.
        load: what the drawing process makes of the same path; a function that can be found by its name.
        settings: see :class:`Settings`.
        speak: the voice; by default the embedded one.
        journal: where events go; by default nowhere.
    """

    def __init__(
        self, open_avatar: Callable[[Path], OpenAvatar], load: Load, settings: Settings, speak: Speak | None = None,
        journal: Journal | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.journal = settings, journal
        self.first_sound, self.first_lip, self.drawing_s = Histogram(), Histogram(), 0.0
        self.pulse = Pulse()
        self.sessions: dict[str, Live] = {}
        self.num_opened = 0
        self.is_leaving = self._has_left = False
        self.began = time.monotonic()
        self._speak = speak or open_voices(()).flow
        self._by_number: dict[int, Live] = {}
        self._numbers = itertools.count(1)
        self._drawer = Drawer(
            load, self._take, settings.device, settings.precision, settings.threads, self._tell_journal
        )
        self._shelf = Shelf(open_avatar, self._drawer)
        self.door = Admission(settings, self._shelf, self.sessions, self._tell_journal, self.pulse)
        self._total = SessionStats()  # of sessions that have ended
        self._folder = Path()
        self._workers = ThreadPoolExecutor(settings.workers or os.cpu_count() or 1, thread_name_prefix="picture")
        self._reaper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()  # sessions whose end takes its time, as a long recording's does

    @property
    def drawer(self) -> Drawer:
        """The drawing process."""
        return self._drawer

    @property
    def avatars(self) -> dict[str, OpenAvatar]:
        """Those that may be picked, by name."""
        return self._shelf.avatars

    def total_stats(self) -> SessionStats:
        """Of all sessions since the start."""
        total = SessionStats()
        total += self._total
        for live in self.sessions.values():
            total += live.session.count()
        return total

    async def start(self, avatars: Path) -> list[str]:
        """Open every avatar of a folder, and begin; the sentences about those that cannot be used.

        Raises:
            ConfigError: there is none.
        """
        await self._drawer.start()
        self._folder = avatars
        loop = asyncio.get_running_loop()
        warm = loop.run_in_executor(None, log_mel, np.zeros(HEARD, np.float32))  # imports what the first tick would
        wrong = (await self._shelf.load(avatars)).refused
        await warm
        if not self.avatars:
            await self._drawer.close()
            raise ConfigError(
                f"avatars={avatars} holds no avatar that can be used. {' '.join(wrong)} "
                f"Make one: anchor avatar build video=... checkpoint=... out={avatars}/NAME"
            )
        self._reaper = loop.create_task(self._reap())
        return wrong

    async def reload(self) -> Changes:
        """Look into the folder again. Sessions keep what they show; one that is broken leaves the old one on air."""
        changes = await self._shelf.load(self._folder)
        self._tell_journal("reloaded", dataclasses.asdict(changes))
        return changes

    def open(self, avatar: str, owner: str) -> Live:
        """A new session.

        Raises:
            UnknownError: there is no such avatar.
            BusyError: there is no room.
        """
        chosen = self._avatar(avatar)
        self.door.let_in(chosen.key, self.is_leaving)
        number = next(self._numbers)
        events: list[Live] = []

        def tell(name: str, about: dict[str, object]) -> None:
            for live in events:
                live.tell(name, about)

        session = Session(
            number, chosen.key, chosen.stage, chosen.walk(), self._drawer.submit, self._workers, tell,
            self.settings.label, self.pulse,
        )  # fmt: skip
        director = Director(session, self._speak, tell)
        live = Live(secrets.token_urlsafe(18), session, director, owner, chosen, self._hear)
        events.append(live)
        self.sessions[live.id] = self._by_number[number] = live
        self.num_opened += 1
        session.start()
        live.tell("opened", {"avatar": chosen.name, "owner": owner})
        return live

    def find(self, id: str, owner: str = "") -> Live:
        """The session of an id, which the owner alone may find.

        Raises:
            UnknownError: there is none.
        """
        live = self.sessions.get(id)
        if live is None or (owner and live.owner != owner):
            raise UnknownError("There is no such session. It may have ended: open another.")
        live.touch()
        return live

    async def make_way(self, live: Live, text: str, interrupt: bool) -> None:
        """Before a text: refuse one without a word, and only then interrupt, where that is asked for.

        Raises:
            ConfigError: the text has no word.
        """
        clean_text(text)
        if interrupt:
            await live.director.interrupt()

    def say(self, live: Live, text: Any) -> int:
        """Let a session speak; the number of its utterance.

        Raises:
            BusyError: as many others speak as the machine can draw.
        """
        self.door.admit(live)
        was_speaking = live.is_speaking
        number = live.director.say(text)
        if not was_speaking:
            live.session.ask()
        return number

    def change(self, live: Live, avatar: str) -> None:
        """Another avatar in the middle of a session.

        Raises:
            UnknownError: there is none of that name.
            ConfigError: its pictures have another size.
        """
        chosen, before = self._avatar(avatar), live.avatar
        sizes = [(one.stage.width, one.stage.height) for one in (chosen, before)]
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"{avatar} has {sizes[0][0]} x {sizes[0][1]} pixels and this session {sizes[1][0]} x {sizes[1][1]}. "
                "Build avatars that are exchanged with one size."
            )
        live.avatar = chosen
        live.session.change(chosen.key, chosen.stage, chosen.walk())
        live.tell("avatar", {"name": chosen.name})

    async def close(self, live: Live) -> None:
        """End a session and all that hangs on it."""
        if self.sessions.pop(live.id, None) is None:
            return
        self._by_number.pop(live.session.number, None)
        stats = live.session.count()
        self._total += stats
        numbers = {**dataclasses.asdict(stats), **live.report}
        live.tell("closed", {key: value for key, value in numbers.items() if key != "batch_sizes"})
        await live.director.close()
        await live.session.close()
        for closer in tuple(live.closers):
            result = closer()
            if asyncio.iscoroutine(result):
                with contextlib.suppress(Exception):
                    await result

    async def leave(self, patience_s: float = 20.0) -> None:
        """Take no more sessions, let those that speak finish, and end."""
        if self._has_left:
            return
        self.is_leaving = self._has_left = True
        self._tell_journal("leaving", {"speaking": self.door.num_speaking})
        deadline = time.monotonic() + patience_s
        while self.door.num_speaking and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        if self._reaper is not None:
            self._reaper.cancel()
        for live in tuple(self.sessions.values()):
            await self.close(live)
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._drawer.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _avatar(self, name: str) -> OpenAvatar:
        chosen = self.avatars.get(name) if name else next(iter(self.avatars.values()), None)
        if chosen is None:
            raise UnknownError(f"There is no avatar {name!r}. There are {', '.join(self.avatars) or 'none'}.")
        return chosen

    def _tell_journal(self, name: str, about: Mapping[str, object]) -> None:
        if self.journal is not None:
            self.journal.tell(name, about)

    def _hear(self, live: Live, name: str, about: Mapping[str, object]) -> None:
        if name in ("first_sound", "first_lip"):
            getattr(self, name).add(float(about["ms"]) / 1000)  # type: ignore[arg-type]
        if name not in QUIET:  # they are not for the journal
            queue = {"waiting_s": round(live.session.timeline.waiting_s, 2), "queue": self._drawer.num_waiting}
            self._tell_journal(name, {"session": live.session.number, "tick": live.session.tick, **about, **queue})

    def _take(self, drawn: Drawn) -> None:
        self.drawing_s += drawn.seconds / max(1, drawn.batch_size)
        live = self._by_number.get(drawn.session)
        if live is not None:
            live.session.take(drawn)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.door.look()
            now = time.monotonic()
            for live in tuple(self.sessions.values()):
                failure = live.session.failure
                if failure is not None:
                    live.tell("failed", {"reason": f"Its clock stopped: {type(failure).__name__}: {failure}."})
                if failure is not None or now - live.last_seen(now) > self.settings.lease_s:
                    closing = asyncio.get_running_loop().create_task(self.close(live))
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
            self._shelf.forget_unused({live.session.avatar for live in self.sessions.values()})
