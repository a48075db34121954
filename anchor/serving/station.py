"""Everything that is on air on this machine: avatars, the drawing process, sessions, and how many of them fit."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anchor.errors import AnchorError, ConfigError
from anchor.serving.avatar import Action, StagePictures, Walk
from anchor.serving.director import Director
from anchor.serving.drawer import Drawer
from anchor.serving.drawing import Drawn, Load
from anchor.serving.session import TICK_S, Session
from anchor.serving.voices import Speak
from anchor.speech.voices import open_voices

__all__ = ["BusyError", "Live", "OpenAvatar", "Settings", "Station", "UnknownError"]

RETRY_S = 10  # what a refused client is told to wait
EVENTS_KEPT = 200  # of a session, for who asks late
SHARE = 0.7  # of the drawing process's time may be promised: the rest is for what nobody foresees


class BusyError(AnchorError, RuntimeError):
    """There is no room for another session, or for another that speaks."""


class UnknownError(AnchorError, KeyError):
    """There is no session or avatar of that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True)
class OpenAvatar:
    """An avatar as the server shows it."""

    name: str
    path: str
    stage: StagePictures
    idle: Action
    speaking: Action | None = None  # where it does not speak while idling goes on
    actions: tuple[Action, ...] = ()

    def walk(self) -> Walk:
        """For a session of its own."""
        return Walk(self.idle, self.speaking, self.actions)


@dataclass(frozen=True)
class Settings:
    """How a station runs."""

    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1  # of the drawing process
    workers: int = 0  # threads that paste and encode; 0: one for each core
    max_sessions: int = 16
    max_speaking: int = 0  # 0: as many as the drawing process was measured to keep up with
    label: str = "AI generated"  # in the corner of every picture; empty for none
    lease_s: float = 8.0  # a session that nobody watches and nobody asks for is closed after it


@dataclass
class Live:
    """A session and what belongs to it."""

    id: str
    session: Session
    director: Director
    owner: str
    events: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    listeners: set[asyncio.Queue[dict[str, object]]] = field(default_factory=set)
    closers: set[Callable[[], Any]] = field(default_factory=set)  # what ends with the session
    seen: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """Somebody is there."""
        self.seen = time.monotonic()

    def tell(self, name: str, about: Mapping[str, object]) -> None:
        """An event, to those who listen now and to those who ask later."""
        event = {"event": name, "at": round(time.time(), 3), "tick": self.session.tick, **about}
        self.events.append(event)
        for queue in self.listeners:
            queue.put_nowait(event)


class Station:
    """All of it. One event loop; everything here is called in it.

    Args:
        open_avatar: makes an avatar of a path in the server's memory; called in a thread.
        load: what the drawing process makes of the same path; a function that can be found by its name.
        settings: see :class:`Settings`.
        speak: the voice; by default the embedded one.
    """

    def __init__(
        self, open_avatar: Callable[[Path], OpenAvatar], load: Load, settings: Settings, speak: Speak | None = None
    ) -> None:
        self.settings = settings
        self.avatars: dict[str, OpenAvatar] = {}
        self.costs: dict[str, dict[int, float]] = {}  # s of a batch, by avatar and size
        self.sessions: dict[str, Live] = {}
        self.num_refused = 0
        self.num_opened = 0
        self.is_leaving = self._has_left = False
        self.began = time.monotonic()
        self._open_avatar, self._speak = open_avatar, speak or open_voices(()).flow
        self._by_number: dict[int, Live] = {}
        self._numbers = itertools.count(1)
        self._drawer = Drawer(load, self._take, settings.device, settings.precision, settings.threads)
        self._workers = ThreadPoolExecutor(settings.workers or os.cpu_count() or 1, thread_name_prefix="picture")
        self._reaper: asyncio.Task[None] | None = None

    @property
    def drawer(self) -> Drawer:
        """The drawing process."""
        return self._drawer

    @property
    def max_speaking(self) -> int:
        """Sessions that may speak at once: what was asked for, or what batches of the slowest avatar allow."""
        if self.settings.max_speaking:
            return self.settings.max_speaking
        if not self.costs:
            return self.settings.max_sessions
        rates = [max(size / max(cost, 1e-6) for size, cost in costs.items()) for costs in self.costs.values()]
        return max(1, min(self.settings.max_sessions, int(SHARE * min(rates) * TICK_S)))

    @property
    def num_speaking(self) -> int:
        """Sessions that have something to say."""
        return sum(live.session.timeline.is_speaking or live.director.is_busy for live in self.sessions.values())

    async def start(self, avatars: Path) -> list[str]:
        """Open every avatar of a folder, and begin; the sentences about those that cannot be used.

        Raises:
            ConfigError: there is none.
        """
        await self._drawer.start()
        wrong = await self.reload(avatars)
        if not self.avatars:
            await self._drawer.close()
            raise ConfigError(
                f"avatars={avatars} holds no avatar that can be used. {' '.join(wrong)} "
                f"Make one: anchor avatar build video=... checkpoint=... out={avatars}/NAME"
            )
        self._reaper = asyncio.get_running_loop().create_task(self._reap())
        return wrong

    async def reload(self, avatars: Path) -> list[str]:
        """Take in avatars that are new or changed in the folder; the sentences about those that cannot be used.

        Sessions keep the pictures that they have.
        """
        loop = asyncio.get_running_loop()
        folders = sorted(path for path in avatars.iterdir() if path.is_dir()) if avatars.is_dir() else []
        if (avatars / "avatar.json").is_file():
            folders = [avatars]
        wrong = []
        for folder in folders:
            try:
                opened = await loop.run_in_executor(None, self._open_avatar, folder)
                self.costs[opened.name] = await self._drawer.add(opened.name, str(folder))
                self.avatars[opened.name] = opened
            except AnchorError as error:
                wrong.append(f"{folder.name}: {error}")
        gone = [name for name, avatar in self.avatars.items() if not Path(avatar.path).is_dir()]
        for name in gone:
            del self.avatars[name], self.costs[name]
            self._drawer.forget(name)
        return wrong

    def open(self, avatar: str, owner: str) -> Live:
        """A new session.

        Raises:
            UnknownError: there is no such avatar.
            BusyError: there is no room.
        """
        chosen = self._avatar(avatar)
        if self.is_leaving:
            raise BusyError("The server is leaving. Try another one.")
        if len(self.sessions) >= self.settings.max_sessions:
            self.num_refused += 1
            raise BusyError(f"{len(self.sessions)} sessions are open, and there is no room for more. Try again later.")
        number = next(self._numbers)
        events: list[Live] = []

        def tell(name: str, about: dict[str, object]) -> None:
            for live in events:
                live.tell(name, about)

        session = Session(
            number,
            chosen.name,
            chosen.stage,
            chosen.walk(),
            self._drawer.submit,
            self._workers,
            tell,
            self.settings.label,
        )
        live = Live(secrets.token_urlsafe(18), session, Director(session, self._speak, tell), owner)
        events.append(live)
        self.sessions[live.id] = self._by_number[number] = live
        self.num_opened += 1
        session.start()
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

    def say(self, live: Live, text: Any) -> int:
        """Let a session speak; the number of its utterance.

        Raises:
            BusyError: as many others speak as the machine can draw.
        """
        if (
            not live.director.is_busy
            and not live.session.timeline.is_speaking
            and self.num_speaking >= self.max_speaking
        ):
            self.num_refused += 1
            raise BusyError(
                f"{self.num_speaking} sessions are speaking, as many as this machine keeps at 25 pictures a second. "
                "Try again later."
            )
        return live.director.say(text)

    def change(self, live: Live, avatar: str) -> None:
        """Another avatar in the middle of a session.

        Raises:
            UnknownError: there is none of that name.
            ConfigError: its pictures have another size.
        """
        chosen = self._avatar(avatar)
        before = self.avatars.get(live.session.avatar)
        if before is not None and (chosen.stage.width, chosen.stage.height) != (
            before.stage.width,
            before.stage.height,
        ):
            raise ConfigError(
                f"{avatar} has {chosen.stage.width} x {chosen.stage.height} pixels and this session "
                f"{before.stage.width} x {before.stage.height}. Build avatars that are exchanged with one size=."
            )
        live.session.change(chosen.name, chosen.stage, chosen.walk())
        live.tell("avatar", {"name": chosen.name})

    async def close(self, live: Live) -> None:
        """End a session and all that hangs on it."""
        if self.sessions.pop(live.id, None) is None:
            return
        self._by_number.pop(live.session.number, None)
        live.tell("closed", {})
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
        deadline = time.monotonic() + patience_s
        while self.num_speaking and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        if self._reaper is not None:
            self._reaper.cancel()
        for live in tuple(self.sessions.values()):
            await self.close(live)
        await self._drawer.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _avatar(self, name: str) -> OpenAvatar:
        chosen = self.avatars.get(name) if name else next(iter(self.avatars.values()), None)
        if chosen is None:
            raise UnknownError(f"There is no avatar {name!r}. There are {', '.join(self.avatars) or 'none'}.")
        return chosen

    def _take(self, drawn: Drawn) -> None:
        live = self._by_number.get(drawn.session)
        if live is not None:
            live.session.take(drawn)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for live in tuple(self.sessions.values()):
                if live.listeners or live.session.timeline.is_speaking or live.director.is_busy:
                    live.touch()
                elif now - live.seen > self.settings.lease_s:
                    await self.close(live)
