"""Sessions that all speak, for benchmarks/live.py: one before a browser, the others before readers."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import httpx
from live_browser import Command, Page
from live_clients import SENTENCE, TALK, Background, Watcher
from live_metrics import Metrics, Rung

__all__ = ["ENOUGH", "Crowd", "climb", "fill", "room_of", "summary"]

ENOUGH = 24.5  # pictures a second
RETRY_S = 10.0  # the server's Retry-After


def room_of(command: Command) -> int:
    """What the server says of its room."""
    found = re.search(r'"speaking": \{"[^"]*": (\d+)', command.said)
    assert found, command.said
    return int(found[1])


class Crowd:
    """Sessions that speak: the first before the browser, the others before readers. Leave it with ``with``."""

    def __init__(self, command: Command, browser: Any, background: Background) -> None:
        self.command, self.background = command, background
        self.page = Page(browser, command.url)
        self.others: list[Watcher] = []
        self.tasks: list[Any] = []
        self.talk()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        """End all of it."""
        for task in self.tasks:
            task.cancel()
        for one in self.others:
            with contextlib.suppress(httpx.HTTPError):
                one.close()
        self.page.close()

    def talk(self) -> None:
        """Who is silent speaks again."""
        for id in [self.page.id, *(one.id for one in self.others)]:
            address = f"{self.command.url}/api/sessions/{id}"
            if not httpx.get(address, timeout=30).json()["is_speaking"]:
                httpx.post(f"{address}/say", json={"text": TALK}, timeout=30)

    def grow(self, count: int) -> int:
        """Until so many speak; how many do: fewer where the server takes no more, asked twice."""
        while 1 + len(self.others) < count:
            if self._add() is None:
                continue
            time.sleep(RETRY_S)  # what came too late before counts for as long
            if (reason := self._add()) is not None:
                print(f"  session {2 + len(self.others)} is refused: {reason}", flush=True)
                break
        return 1 + len(self.others)

    def _add(self) -> str | None:
        """One more; why it was refused, or None."""
        try:
            one = Watcher(self.command.url)
        except httpx.HTTPStatusError as error:
            return error.response.text[:200]
        answer = one.say()
        if answer.status_code >= 400:
            one.close()
            return answer.text[:200]
        self.others.append(one)
        self.tasks.append(self.background.start(one.watch()))
        return None

    def measure(self, seconds: float) -> Rung:
        """Pictures a second of each, the browser's first, and what was late."""
        time.sleep(2.0)
        metrics = Metrics(self.command.url)
        self.page.forget()
        began = time.monotonic()
        time.sleep(seconds)
        shown = self.page.count() / (time.monotonic() - began)
        return metrics.rung([shown, *(one.rate(seconds) for one in self.others)])


def climb(command: Command, browser: Any, background: Background, most: int, seconds: float) -> dict[str, str]:
    """The ladder."""
    kept, best = 0, ""
    with Crowd(command, browser, background) as crowd:
        for count in range(1, most + 1):
            if crowd.grow(count) < count:
                break
            rung = crowd.measure(seconds)
            print(f"  {count} speaking: {rung}", flush=True)
            if min(rung.rates) < ENOUGH or not rung.is_kept:
                break
            kept, best = count, f" at {min(rung.rates):.1f} pictures a second"
    print(f"  largest number that keeps {ENOUGH} pictures a second with less than 1 % late: {kept}"
          f"{'' if kept else ', this machine does not keep a single session of this network'}", flush=True)  # fmt: skip
    return {"ladder keeps": f"{kept}{best}{'' if kept < most else ' (no more were tried)'}"}


def fill(command: Command, browser: Any, background: Background, seconds: float) -> dict[str, str]:
    """As many as there is room for, and one more that is refused."""
    room = room_of(command)
    with Crowd(command, browser, background) as crowd:
        count = crowd.grow(room)
        answer = one_more(command.url)
        rung = crowd.measure(seconds)
    print(f"  the server's own room: {room}; {count} speaking: {rung}")
    print(f"  one more: {answer.status_code}, Retry-After {answer.headers.get('retry-after')}", flush=True)
    return {"its own room": f"{room}: {summary(rung)}", "one more": str(answer.status_code)}


def one_more(url: str) -> httpx.Response:
    """What somebody hears who wants to speak as well: the refusal of a session, or of its speech."""
    try:
        extra = Watcher(url)
    except httpx.HTTPStatusError as error:
        return error.response
    answer = extra.say(SENTENCE)
    extra.close()
    return answer


def summary(rung: Rung) -> str:
    """A rung in a cell of the table."""
    return (
        f"{min(rung.rates):.1f} pictures a second, {100 * rung.late:.1f} % drawn late, {100 * rung.left_out:.1f} % "
        f"left out ({100 * rung.left_out_by_loop:.1f} loop)"
    )
