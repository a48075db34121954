"""Who may come in and who may speak: what an operator allows, and what the machine was measured to keep up with.

A measurement is a promise, and the machine may break it: another program takes its cores, a viewer costs more than
was thought. So the server also looks at its own clocks, and while those on air stutter nobody is let in beside them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from anchor.errors import AnchorError
from anchor.serving.capacity import MOST, Cost, Room
from anchor.serving.live import Live
from anchor.serving.pulse import WINDOW_S, Pulse
from anchor.serving.shelf import Shelf

__all__ = ["RETRY_S", "Admission", "BusyError", "Settings"]

RETRY_S = WINDOW_S  # what a refused client is told to wait


class BusyError(AnchorError, RuntimeError):
    """There is no room for another session, or for another that speaks."""


@dataclass(frozen=True)
class Settings:
    """How a station runs."""

    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1  # of the drawing process
    workers: int = 0  # threads that paste and encode; 0: one for each core
    max_sessions: int = 16
    max_speaking: int = 0  # 0: as many as the machine was measured to keep up with, and is seen to
    label: str = "AI generated"  # in the corner of every picture; empty for none
    lease_s: float = 6.0  # a session that nobody watches and nobody asks for is closed after it


class Admission:
    """A station's room.

    Args:
        settings: see :class:`Settings`.
        shelf: the avatars, and what each was measured to cost.
        sessions: those that are open, by id; the station's own.
        tell: called with ("refused", why), and with "strained" and "eased" as the sessions begin and cease to stutter.
        pulse: how late the sessions' ticks are.
    """

    def __init__(
        self, settings: Settings, shelf: Shelf, sessions: Mapping[str, Live],
        tell: Callable[[str, Mapping[str, object]], None], pulse: Pulse,
    ) -> None:  # fmt: skip
        self.num_refused = 0
        self.strain = ""  # what came too late when it was looked at last, as a clause
        self._settings, self._shelf, self._sessions, self._tell = settings, shelf, sessions, tell
        self._pulse = pulse
        self._room = Room(settings.threads, settings.device == "cpu")

    @property
    def num_speaking(self) -> int:
        """Sessions that have something to say."""
        return sum(live.is_speaking for live in self._sessions.values())

    def limit(self, avatar: str) -> int:
        """How many sessions of this avatar alone may speak at once: as asked for, or as its costs allow."""
        most = self._settings.max_speaking or self._settings.max_sessions
        return most if self._settings.max_speaking else self._room.limit(self.cost(avatar), min(most, MOST))

    def cost(self, avatar: str) -> Cost:
        """What a mouth and a picture of it were measured to cost."""
        return self._shelf.costs[self._shelf.avatars[avatar].key]

    def look(self) -> str:
        """What comes too late just now, as a clause; empty where nobody stutters. A change is told."""
        before, self.strain = self.strain, self._pulse.strain(time.monotonic())
        if self.strain and not before:
            self._tell("strained", {"reason": self.strain})
        elif before and not self.strain:
            self._tell("eased", {})
        return self.strain

    def let_in(self, key: str, is_leaving: bool) -> None:
        """See that one more session may be opened; ``key`` is its avatar's in the drawing process.

        Raises:
            BusyError: the server is leaving, as many are open as may be, there is no room for more pictures, or those
                that are open stutter.
        """
        if is_leaving:
            raise BusyError("The server is leaving. Try another one.")
        if len(self._sessions) >= self._settings.max_sessions:
            self._refuse(f"{len(self._sessions)} sessions are open, and there is no room for more. Try again later.")
        if self._sessions:
            speaking, watched = self._showing()
            watched[key] += 1
            self._see_room(speaking, watched)
            self._spare()

    def admit(self, live: Live) -> None:
        """See that one more may speak; one who would be the only one always may.

        Raises:
            BusyError: as many others speak as the machine can draw, or those on air stutter.
        """
        if live.is_speaking:
            return
        speaking, watched = self._showing(but=live)
        count, most = sum(speaking.values()), self._settings.max_speaking
        if most and count >= most:
            self._refuse(f"{count} sessions are speaking, as many as this machine keeps. Try again later.")
        if count:
            speaking[live.session.avatar] += 1
            self._see_room(speaking, watched)
            self._spare()

    def _showing(self, but: Live | None = None) -> tuple[Counter[str], Counter[str]]:
        """How many sessions of each avatar's key speak, and how many are only watched."""
        speaking: Counter[str] = Counter()
        watched: Counter[str] = Counter()
        for one in self._sessions.values():
            if one is not but and one.is_speaking:
                speaking[one.session.avatar] += 1
            elif one is not but and "h264" in one.session.hub.kinds:
                watched[one.session.avatar] += 1
        return speaking, watched

    def _see_room(self, speaking: Mapping[str, int], watched: Mapping[str, int]) -> None:
        """Refuse what the machine was not measured to keep up with."""
        if self._settings.max_speaking or self._room.holds(speaking, self._shelf.costs, watched):
            return
        silent = sum(watched.values())
        others = f", and {silent} more would be watched" if silent else ""
        self._refuse(
            f"{sum(speaking.values())} sessions would speak{others}: more than this machine keeps at 25 pictures a "
            "second. Try again later."
        )

    def _spare(self) -> None:
        """Refuse while others would suffer; who counts out the sessions (``max_speaking``) decides that for itself."""
        if self.look() and not self._settings.max_speaking:
            self._refuse(
                f"Those on air are not served in time: {self.strain}. Nobody is let in beside them. Try later."
            )

    def _refuse(self, sentence: str) -> NoReturn:
        self.num_refused += 1
        self._tell("refused", {"reason": sentence})
        raise BusyError(sentence)
