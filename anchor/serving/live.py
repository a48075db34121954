"""A session and everything that belongs to it, as the station keeps it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anchor.errors import AnchorError
from anchor.serving.director import Director
from anchor.serving.session import Session
from anchor.serving.shelf import OpenAvatar

__all__ = ["QUIET", "EventLine", "Live"]

EVENTS_KEPT = 200  # of a session, for who asks late
MOST_UNREAD = 200  # events that a slow listener may be behind; half of them, where they only tell the state
QUIET = ("state", "speaking", "silent")  # events that happen all the time: the next state tells the same
REPORTED = ("rate", "trip_ms", "delay_ms", "skew_ms", "dropped")  # what a page may tell of what it shows


class EventLine:
    """A session's events to one listener, who may be slow but not without end.

    What only tells the state is left out first. One who is :data:`MOST_UNREAD` events behind is given up.
    """

    def __init__(self) -> None:
        self._unread: asyncio.Queue[dict[str, object]] = asyncio.Queue(MOST_UNREAD)
        self._is_given_up = asyncio.Event()
        self.num_left_out = 0

    def put(self, event: dict[str, object]) -> None:
        """Take an event, or leave it out."""
        if event["event"] in QUIET and self._unread.qsize() >= MOST_UNREAD // 2:
            self.num_left_out += 1
        elif self._unread.full():
            self._is_given_up.set()
        else:
            self._unread.put_nowait(event)

    async def get(self) -> dict[str, object]:
        """The next event."""
        return await self._unread.get()

    async def overflow(self) -> None:
        """Wait for the moment in which the listener is given up.

        Raises:
            SlowError: it is.
        """
        await self._is_given_up.wait()
        raise SlowError(f"{MOST_UNREAD} events wait to be read. Read them as they come, or come back for new ones.")


class SlowError(AnchorError, RuntimeError):
    """A client does not read what it asked for."""


@dataclass
class Live:
    """A session and what belongs to it."""

    id: str
    session: Session
    director: Director
    owner: str
    avatar: OpenAvatar
    hear: Callable[[Live, str, Mapping[str, object]], None] = lambda live, name, about: None  # every event
    events: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    listeners: set[EventLine] = field(default_factory=set)
    closers: set[Callable[[], Any]] = field(default_factory=set)  # what ends with the session
    holders: set[object] = field(default_factory=set)  # what keeps it open without anybody watching
    told: dict[str, Callable[[], Any]] = field(default_factory=dict)  # what else its state tells, by name
    report: dict[str, float] = field(default_factory=dict)  # what its page last said of rate, delay and skew
    seen: float = field(default_factory=time.monotonic)
    beats: bool = False  # its page says regularly that it lives, so what it does not say counts too

    @property
    def is_speaking(self) -> bool:
        """Whether it has something to say."""
        return self.session.timeline.is_speaking or self.director.is_busy

    def touch(self) -> None:
        """Somebody is there."""
        self.seen = time.monotonic()

    def last_seen(self, now: float) -> float:
        """When anybody was there: its client's requests and beats, and every viewer's own signs of life.

        A line for events alone counts while it stands, until its page has said that it beats: then silence counts too.
        """
        if self.holders or (self.listeners and not self.beats):
            return now
        return max(self.seen, *self.session.hub.heard, 0.0)

    def tell(self, name: str, about: Mapping[str, object]) -> None:
        """An event, to those who listen now and to those who ask later."""
        event = {"event": name, "at": round(time.time(), 3), "tick": self.session.tick, **about}
        self.events.append(event)
        self.hear(self, name, about)
        for line in self.listeners:
            line.put(event)

    def take_report(self, about: Mapping[str, Any]) -> None:
        """What its page says that it shows: pictures a second, delays and skew in ms; anything else is left out."""
        self.beats = True
        for key in REPORTED:
            value = about.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                self.report[key] = max(-1e6, min(1e6, float(value)))

    def show(self) -> dict[str, Any]:
        """What it is doing, in numbers."""
        session, stats = self.session, self.session.count()
        return {
            "avatar": self.avatar.name, "began": round(session.began, 3), "tick": session.tick,
            "epoch": session.timeline.epoch, "is_speaking": self.is_speaking, "viewers": session.hub.num_viewers,
            "mouths": stats.spoken, "late": stats.late, "skipped": stats.skipped, "starved": stats.starved,
            "dropped": stats.dropped, "waiting_s": round(session.timeline.waiting_s, 3), "viewer": dict(self.report),
            "batch_sizes": {str(size): count for size, count in sorted(stats.batch_sizes.items())},
            **{name: tell() for name, tell in self.told.items()},
        }  # fmt: skip
