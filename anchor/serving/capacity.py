"""How many may speak at once: what a mouth and a picture were measured to cost, against the time of a tick.

A speaking session needs a mouth of the drawing process and a picture of the server, pasted and encoded, every 40 ms.
Where the drawing process is on the CPU both come out of the same cores. A session that is watched and silent needs its
pictures too. And whatever cores there are, the server is one Python process: what it does under the interpreter's lock
goes on one after the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anchor.serving.avatar import StagePictures, Step
from anchor.serving.batching import BUCKETS, bucket_of
from anchor.serving.painter import Painter
from anchor.serving.timeline import Tick
from anchor.timing import FPS, SAMPLES_PER_FRAME

__all__ = ["Cost", "Room", "measure_pictures"]

SHARE = 0.7  # of the time may be promised: the rest is for viewers, and for what nobody foresees
MOST = 1024  # sessions that are thought of at all
NUM_MEASURED = 12  # pictures, of each kind
CLOCK_S = 0.0025  # of a core and a tick beside the picture, for clock, mel and packets: 9 ms in all with 4 sessions
# Of a tick under Python's lock: 2.1 to 2.9 ms of the event loop (clock, mel, sound, the packets of one viewer; by the
# thread's own time), and of a picture 1 ms beside OpenCV and x264. That a process of aiortc ends at about 8 sessions of
# 512 px was seen independently of this.
PYTHON_S = 0.0034


@dataclass(frozen=True)
class Cost:
    """What one avatar costs."""

    mouths: Mapping[int, float]  # s of a batch, by its size
    picture_s: float = 0.0  # of one core, for a picture with its sound
    idle_s: float = 0.0  # the same, where no mouth is drawn

    def drawing_s(self, count: int) -> float:
        """Seconds of the drawing process for ``count`` mouths, in the batches that they would be drawn in."""
        seconds = 0.0
        while count:
            taken, size = bucket_of(count, BUCKETS)
            seconds += self.mouths[size]
            count -= taken
        return seconds


@dataclass(frozen=True)
class Room:
    """What the machine has.

    Args:
        threads: of the drawing process.
        shares_cores: it computes on the CPU, where the server's pictures are made too.
        cores: of the machine.
        python_s: of a tick of one session, in which the server does nothing else, however many cores there are.
    """

    threads: int = 1
    shares_cores: bool = True
    cores: int = os.cpu_count() or 1
    python_s: float = PYTHON_S

    def holds(
        self, speaking: Mapping[str, int], costs: Mapping[str, Cost], watched: Mapping[str, int] | None = None
    ) -> bool:
        """Whether so many sessions of each avatar keep 25 pictures a second; one alone always may try.

        ``watched`` are those that somebody watches and that are silent.
        """
        speaks, idles = (
            [(costs[name], count) for name, count in counts.items() if name in costs]
            for counts in (speaking, watched or {})
        )
        sessions = sum(count for _, count in speaks + idles)
        if sessions <= 1:
            return True
        drawing = sum(cost.drawing_s(count) for cost, count in speaks) * FPS
        painting = sum(cost.picture_s * count for cost, count in speaks) * FPS
        painting += sum(cost.idle_s * count for cost, count in idles) * FPS
        cores = painting + (drawing * self.threads if self.shares_cores else 0)
        python = sessions * self.python_s * FPS
        return drawing <= SHARE and cores <= SHARE * self.cores and python <= SHARE

    def limit(self, cost: Cost, most: int = MOST) -> int:
        """How many sessions of one avatar may speak at once; at least 1."""
        count = 1
        while count < most and self.holds({"": count + 1}, {"": cost}):
            count += 1
        return count


def measure_pictures(stage: StagePictures) -> tuple[float, float]:
    """Seconds of one core for a picture with a drawn mouth and for one without, encoded with its sound.

    What a tick costs beside it is in both.
    """
    painter = Painter(stage, "measured")
    sound_L4 = np.random.default_rng(0).normal(0, 0.1, (SAMPLES_PER_FRAME, 4)).astype(np.float32)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * NUM_MEASURED):
        picture, is_drawn = number % len(stage), number < NUM_MEASURED
        side = len(stage.crop(picture))
        mouth = (picture, np.full((side // 2, side, 3), 128, np.uint8)) if is_drawn else None
        tick = Tick(number, 0, sound_L4, None, float(is_drawn), is_drawn)
        began = time.thread_time()
        painter.sound(tick, frozenset({"opus"}))
        painter.paint(tick, Step(picture, False), mouth, False)
        seconds[is_drawn].append(time.thread_time() - began)
    return float(np.median(seconds[True])) + CLOCK_S, float(np.median(seconds[False])) + CLOCK_S
