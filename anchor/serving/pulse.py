"""Whether the server keeps up: how late its clocks are and why, and whether those on air stutter.

Three things can be late. The event loop: whoever waits in it is woken after its time, because other sessions, viewers
or another program had the processor. Painting: a picture is pasted and encoded for longer than a tick, or waits for a
thread. Drawing: a mouth comes from the drawing process after its tick. The first two leave pictures out; the third
shows an older mouth.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from anchor.serving.metrics import Histogram

__all__ = ["Pulse", "TickFacts"]

BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0)
WINDOW_S = 10  # what counts as now; the seconds that a refused client is told to wait
LATE_S = 0.04  # a tick: so late, the loop owes a picture
MOST_LATE = 0.05  # of the ticks may be that late: the 95th percentile lies at LATE_S
MOST_LOST = 0.01  # of pictures left out, and of mouths that came too late
LEAST_LOST = 5  # of either: a speech that begins may miss its first mouth, and a single picture is no stutter
LEAST_TICKS = 50  # two seconds of one session tell something


@dataclass(frozen=True)
class TickFacts:
    """How one tick of one session went."""

    loop_s: float  # that the event loop was late for it
    painting_s: float | None = None  # from asking for its picture to having it; None where there was none to paint
    is_skipped: bool = False  # its picture was left out
    wants_mouth: bool = False
    is_mouth_late: bool = False


@dataclass
class _Second:
    """Sums of the ticks within one second."""

    number: int
    ticks: int = 0
    late: int = 0
    skipped: int = 0
    mouths: int = 0
    mouths_late: int = 0


class Pulse:
    """All sessions' ticks, counted since the start and over the last ten seconds. Times are of ``time.monotonic``."""

    def __init__(self) -> None:
        self.loop_late, self.painting = Histogram(BOUNDS_S), Histogram(BOUNDS_S)
        self._seconds: deque[_Second] = deque(maxlen=WINDOW_S)

    def add(self, facts: TickFacts, now: float) -> None:
        """Count one tick."""
        self.loop_late.add(facts.loop_s)
        if facts.painting_s is not None:
            self.painting.add(facts.painting_s)
        if not self._seconds or self._seconds[-1].number != int(now):
            self._seconds.append(_Second(int(now)))
        second = self._seconds[-1]
        second.ticks += 1
        second.late += facts.loop_s > LATE_S
        second.skipped += facts.is_skipped
        second.mouths += facts.wants_mouth
        second.mouths_late += facts.is_mouth_late

    def strain(self, now: float) -> str:
        """What comes too late in these seconds, as a clause; empty where everybody is served in time."""
        recent = [second for second in self._seconds if now - second.number <= WINDOW_S]
        ticks, late, skipped, mouths, mouths_late = (
            sum(getattr(second, name) for second in recent)
            for name in ("ticks", "late", "skipped", "mouths", "mouths_late")
        )
        if ticks < LEAST_TICKS:
            return ""
        if skipped >= LEAST_LOST and skipped > MOST_LOST * ticks:
            return f"{100 * skipped / ticks:.1f} % of the pictures are left out"
        if mouths_late >= LEAST_LOST and mouths_late > MOST_LOST * mouths:
            return f"{100 * mouths_late / mouths:.1f} % of the mouths are drawn too late"
        if late > MOST_LATE * ticks:
            return f"{100 * late / ticks:.0f} % of the ticks begin more than {1000 * LATE_S:.0f} ms late"
        return ""
