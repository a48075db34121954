"""How many may speak at once: what a mouth and a picture were measured to cost, against the time of a tick.

A speaking session needs a mouth of the drawing process and a picture of the server, pasted and encoded, every 40 ms.
Where the drawing process is on the CPU both come out of the same cores.
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

__all__ = ["Cost", "Room", "measure_picture"]

SHARE = 0.7  # of the time may be promised: the rest is for viewers, and for what nobody foresees
MOST = 1024  # sessions that are thought of at all
NUM_MEASURED = 12  # pictures
CLOCK_S = 0.0025  # of a core and a tick beside the picture, for clock, mel and packets: 9 ms in all with 4 sessions


@dataclass(frozen=True)
class Cost:
    """What one avatar costs."""

    mouths: Mapping[int, float]  # s of a batch, by its size
    picture_s: float = 0.0  # of one core, for a picture with its sound

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
    """

    threads: int = 1
    shares_cores: bool = True
    cores: int = os.cpu_count() or 1

    def holds(self, speaking: Mapping[str, int], costs: Mapping[str, Cost]) -> bool:
        """Whether so many sessions of each avatar keep 25 pictures a second. One alone always may try."""
        known = {name: count for name, count in speaking.items() if name in costs}
        if sum(known.values()) <= 1:
            return True
        drawing = sum(costs[name].drawing_s(count) for name, count in known.items()) * FPS
        painting = sum(costs[name].picture_s * count for name, count in known.items()) * FPS
        cores = painting + (drawing * self.threads if self.shares_cores else 0)
        return drawing <= SHARE and cores <= SHARE * self.cores

    def limit(self, cost: Cost, most: int = MOST) -> int:
        """How many sessions of one avatar may speak at once; at least 1."""
        count = 1
        while count < most and self.holds({"": count + 1}, {"": cost}):
            count += 1
        return count


def measure_picture(stage: StagePictures) -> float:
    """Seconds of one core for a picture with a drawn mouth, encoded with its sound, and what a tick costs beside it."""
    painter = Painter(stage, "measured")
    sound_L4 = np.random.default_rng(0).normal(0, 0.1, (SAMPLES_PER_FRAME, 4)).astype(np.float32)
    seconds = []
    for number in range(NUM_MEASURED):
        picture = number % len(stage)
        side = len(stage.crop(picture))
        mouth_hSC = np.full((side // 2, side, 3), 128, np.uint8)
        tick = Tick(number, 0, sound_L4, None, 1.0, True)
        began = time.thread_time()
        painter.sound(tick, frozenset({"opus"}))
        painter.paint(tick, Step(picture, False), (picture, mouth_hSC), False)
        seconds.append(time.thread_time() - began)
    return float(np.median(seconds)) + CLOCK_S
