"""One person on air: a clock, a timeline, an avatar, and who watches."""

from __future__ import annotations

import asyncio
import operator
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields

import numpy as np

from anchor.serving.avatar import StagePictures, Step, Walk
from anchor.serving.batching import Request
from anchor.serving.drawing import Drawn
from anchor.serving.encoding import Packet
from anchor.serving.hub import Hub
from anchor.serving.painter import Painter
from anchor.serving.pulse import Pulse, TickFacts
from anchor.serving.timeline import LOOKAHEAD, Tick, Timeline
from anchor.timing import FPS

__all__ = ["TICK_S", "Session", "SessionStats"]

TICK_S = 1 / FPS
LATE_TICKS = 2  # behind by so much, pictures are left out until the clock is met again
LOST_TICKS = 25  # behind by a second, as after the machine slept: the clock begins anew
FALLBACK_TICKS = 3  # for so long a drawn mouth stands in for those that are late; then the avatar's own picture does


@dataclass
class SessionStats:
    """What a session counts."""

    ticks: int = 0
    spoken: int = 0  # ticks whose mouth was to be drawn
    late: int = 0  # of them, those whose picture was not there in time
    skipped: int = 0  # pictures left out to keep the clock
    skipped_by_loop: int = 0  # of them, those for which the event loop was late; for the others painting was
    restarts: int = 0  # of the clock
    starved: int = 0  # ticks in which a stream of speech was dry
    interruptions: int = 0
    dropped: int = 0  # packets, for readers that were too slow
    worst_loop_ms: float = field(default=0.0, metadata={"add": max})  # by which the event loop was late for a tick
    worst_painting_ms: float = field(default=0.0, metadata={"add": max})  # until a picture was pasted and encoded
    batch_sizes: Counter[int] = field(default_factory=Counter)

    def __iadd__(self, other: SessionStats) -> SessionStats:
        for one in fields(self):
            add = one.metadata.get("add", operator.add)
            setattr(self, one.name, add(getattr(self, one.name), getattr(other, one.name)))
        return self


class Session:
    """Everything that one session does, in the event loop; pictures are pasted and encoded in ``workers``.

    Args:
        number: unique among the living sessions of the process.
        stage: the avatar's pictures; ``walk``: which of them are shown.
        submit: hands a request to the drawing process, and says whether it was taken.
        avatar: the name that the drawing process knows it by.
        on_event: called with (what happened, about what).
        label: what stands in the corner of every picture.
        pulse: where every session's ticks are counted.
    """

    def __init__(
        self, number: int, avatar: str, stage: StagePictures, walk: Walk, submit: Callable[[Request], bool],
        workers: Executor, on_event: Callable[[str, dict[str, object]], None] = lambda name, about: None,
        label: str = "", pulse: Pulse | None = None,
    ) -> None:  # fmt: skip
        self.number, self.avatar = number, avatar
        self.timeline, self.hub, self.stats = Timeline(), Hub(), SessionStats()
        self._stage, self._walk, self._submit, self._workers = stage, walk, submit, workers
        self._on_event, self._pulse = on_event, pulse or Pulse()
        self._steps: dict[int, Step] = {}  # of the avatar, for ticks that are planned
        self._mouths: dict[tuple[int, int], np.ndarray] = {}  # (epoch, tick): drawn and waiting
        self._last: tuple[int, int, np.ndarray] | None = None  # (tick, frame, mouth) that was shown last
        self._painter = Painter(stage, label)
        self.taps: set[Callable[[np.ndarray], None]] = set()  # given the sound of each tick, float32 (640, 4)
        self._was_speaking = False
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0  # s, as time.monotonic counts, of tick 0
        self._asked: dict[str, float] = {}  # s: when a speech was asked for whose first sound or lip is still to leave
        self.tick = 0

    @property
    def width(self) -> int:
        """Of the pictures, in pixels."""
        return self._stage.width

    @property
    def height(self) -> int:
        """Of the pictures, in pixels."""
        return self._stage.height

    @property
    def began(self) -> float:
        """When tick 0 was due, in seconds since 1970; tick k is due ``k * TICK_S`` later."""
        return self._began + time.time() - time.monotonic()

    def start(self) -> None:
        """Let the clock run. All sessions tick together, so that their mouths are drawn in common batches."""
        self._began = (time.monotonic() // TICK_S + 1) * TICK_S
        self._task = asyncio.get_running_loop().create_task(self._run())

    def ask(self) -> None:
        """A speech is asked for now: ``first_sound`` and ``first_lip`` will tell how long they took."""
        self._asked = dict.fromkeys(("first_sound", "first_lip"), time.monotonic())

    def count(self) -> SessionStats:
        """What was counted so far."""
        self.stats.starved, self.stats.dropped = self.timeline.num_starved, self.hub.num_dropped
        return self.stats

    @property
    def failure(self) -> BaseException | None:
        """What stopped the clock; None while it runs."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    async def close(self) -> None:
        """Stop the clock, and end what is watched."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.hub.close()

    def interrupt(self) -> float:
        """Be silent at once; the seconds of speech that nobody will hear."""
        dropped_s = self.timeline.interrupt()
        self._mouths.clear()
        self._asked.clear()
        self.stats.interruptions += 1
        self._on_event("interrupted", {"epoch": self.timeline.epoch, "dropped_s": round(dropped_s, 3)})
        return dropped_s

    def take(self, drawn: Drawn) -> None:
        """A picture of the drawing process; one of an old epoch or of another avatar, or too late, is left out."""
        is_old = (drawn.avatar, drawn.epoch) != (self.avatar, self.timeline.epoch) or drawn.tick < self.tick
        if drawn.mouth_hSC is None or is_old:
            return
        self._mouths[drawn.epoch, drawn.tick] = drawn.mouth_hSC
        self.stats.batch_sizes[drawn.batch_size] += 1

    def change(self, avatar: str, stage: StagePictures, walk: Walk) -> None:
        """Another role or outfit from the next tick on, of the same size; what was drawn for the old one is gone.

        What is planned is drawn anew: a mouth or two may come too late.
        """
        self.avatar, self._stage, self._walk = avatar, stage, walk
        self._steps.clear()
        self._mouths.clear()
        self._last = None
        self.hub.want_key()
        for tick in self.timeline.planned:
            self._prepare(tick)

    def act(self, name: str) -> bool:
        """Show an action of the avatar, while speaking or not."""
        return self._walk.act(name)

    async def _run(self) -> None:
        owed_loop_s = owed_painting_s = 0.0  # by which either was late since the clock was met last
        while True:
            due = self._began + self.tick * TICK_S
            asked = time.monotonic()
            if asked <= due:
                owed_loop_s = owed_painting_s = 0.0
            await asyncio.sleep(max(0.0, due - asked))  # who is behind lets others have their turn as well
            loop_s = time.monotonic() - max(due, asked)
            behind = (asked - due) / TICK_S
            if behind > LOST_TICKS:
                self._began = time.monotonic() - self.tick * TICK_S
                self.stats.restarts += 1
                behind = 0.0
            late = self.stats.late
            tick, step, mouth = self._step()
            if self._painter.stage is not self._stage:  # here, for no worker paints a picture of the old one any more
                self._painter.change(self._stage)
            for tap in tuple(self.taps):
                tap(tick.sound_L4)
            kinds = self.hub.kinds
            picture_wanted = "h264" in kinds and behind < LATE_TICKS
            is_skipped = "h264" in kinds and not picture_wanted
            if is_skipped:
                self.stats.skipped += 1
                self.stats.skipped_by_loop += owed_loop_s >= owed_painting_s
            # Sound first: it is quickly encoded, and a browser takes every pause before it for a network's jitter.
            self.hub.publish(self._painter.sound(tick, kinds))
            self._tell_first("first_sound", tick.is_speaking)
            painting_s = None
            if picture_wanted:
                painting_s, back_s = await self._show(tick, step, mouth)
                loop_s += back_s
            self._tell_first("first_lip", mouth is not None)
            owed_loop_s += loop_s
            owed_painting_s += painting_s or 0.0
            self.stats.worst_loop_ms = max(self.stats.worst_loop_ms, round(1000 * loop_s, 1))
            self.stats.worst_painting_ms = max(self.stats.worst_painting_ms, round(1000 * (painting_s or 0.0), 1))
            facts = TickFacts(loop_s, painting_s, is_skipped, tick.presence > 0, self.stats.late > late)
            self._pulse.add(facts, time.monotonic())
            self.tick += 1

    async def _show(self, tick: Tick, step: Step, mouth: tuple[int, np.ndarray] | None) -> tuple[float, float]:
        """Have a picture painted and publish it; seconds until it was there, and until the loop came for it."""
        wants_key, asked = self.hub.take_key_wish(), time.monotonic()

        def paint() -> tuple[list[Packet], float]:
            return self._painter.paint(tick, step, mouth, wants_key), time.monotonic()

        packets, there = await asyncio.get_running_loop().run_in_executor(self._workers, paint)
        back_s = time.monotonic() - there
        self.hub.publish(packets)
        return there - asked, back_s

    def _tell_first(self, what: str, has_left: bool) -> None:
        if has_left and what in self._asked:
            self._on_event(what, {"ms": round(1000 * (time.monotonic() - self._asked.pop(what)))})

    def _step(self) -> tuple[Tick, Step, tuple[int, np.ndarray] | None]:
        """What is shown now: the tick, the avatar's picture, and ``(picture it was drawn for, mouth)``."""
        now = self.tick
        for fresh in self.timeline.plan(now):
            self._prepare(fresh)
        tick = self.timeline.pop(now)
        step = self._steps.pop(now, None) or self._walk.next(tick.presence > 0)  # none: the clock has left ticks out
        mouth = self._mouths.pop((tick.epoch, now), None)
        self._forget_old(now)
        self.stats.ticks += 1
        if tick.is_speaking != self._was_speaking:
            self._was_speaking = tick.is_speaking
            self._on_event("speaking" if tick.is_speaking else "silent", {"tick": now, "epoch": tick.epoch})
        if tick.presence == 0:
            return tick, step, None
        self.stats.spoken += 1
        if mouth is not None:
            self._last = (now, step.number, mouth)
            return tick, step, (step.number, mouth)
        self.stats.late += 1
        if self._last is not None and now - self._last[0] <= FALLBACK_TICKS:
            return tick, step, self._last[1:]
        return tick, step, None

    def _prepare(self, tick: Tick) -> None:
        """Give a tick that is planned its picture, and have its mouth drawn where it has one."""
        step = self._steps.get(tick.number)
        if step is None:  # a tick that is planned again after an interruption keeps its picture
            step = self._steps[tick.number] = self._walk.next(tick.presence > 0)
        if tick.mel_MS is not None:
            deadline = self._began + tick.number * TICK_S
            self._submit(Request(self.number, self.avatar, tick.epoch, tick.number, step.number, tick.mel_MS, deadline))

    def _forget_old(self, now: int) -> None:
        for key in [key for key in self._mouths if key[1] < now]:
            del self._mouths[key]
        for number in [number for number in self._steps if number < now]:
            del self._steps[number]


assert LOOKAHEAD > LATE_TICKS, "a picture may be late before it is given up"
