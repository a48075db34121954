"""What benchmarks/live.py reads off a server's /metrics: what was late between two moments, and whose fault it was."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import httpx

__all__ = ["Metrics", "Rung"]


@dataclass(frozen=True)
class Rung:
    """Some seconds of a server, and how many pictures its viewers had. Shares are of mouths and of ticks, in [0, 1]."""

    rates: tuple[float, ...]  # pictures a second of each viewer, the browser's first
    late: float  # mouths that came too late from the drawing process
    left_out: float  # pictures
    left_out_by_loop: float  # of all ticks: the event loop was late; the others were painted for too long
    loop_ms: str  # by which the event loop was late for a tick: the bucket of the 95th percentile
    painting_ms: str  # until a picture was pasted and encoded: likewise
    server_cores: float
    drawing_share: float  # of the time, in which the drawing process drew
    is_strained: bool  # the server itself says that it lets nobody else in

    @property
    def is_kept(self) -> bool:
        """Whether everybody was served: the rate is another question, see ``ENOUGH`` in live_crowd.py."""
        return max(self.late, self.left_out) < 0.01

    def __str__(self) -> str:
        painted = self.left_out - self.left_out_by_loop
        return (
            f"browser {self.rates[0]:.1f}, least of all {min(self.rates):.1f} pictures a second; "
            f"drawn late {100 * self.late:.1f} %; left out {100 * self.left_out:.1f} % "
            f"(loop {100 * self.left_out_by_loop:.1f}, painting {100 * painted:.1f}); p95 of the loop's lateness "
            f"{self.loop_ms} ms, of painting {self.painting_ms} ms; server {self.server_cores:.2f} cores, drawing "
            f"{100 * self.drawing_share:.0f} % of the time{'; strained' if self.is_strained else ''}"
        )


class Metrics:
    """Counters of a server, and what became of them since :meth:`mark`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark()

    def read(self) -> dict[str, float]:
        """By name and labels."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).text
        return {name: float(value) for name, value in re.findall(r"^anchor_(\S+) (\S+)$", text, re.M)}

    def mark(self) -> None:
        """Count from here."""
        self.before, self._began = self.read(), time.monotonic()

    def rung(self, rates: list[float]) -> Rung:
        """Since the mark."""
        now, seconds = self.read(), max(1e-6, time.monotonic() - self._began)
        new = {name: value - self.before.get(name, 0.0) for name, value in now.items()}
        ticks = max(1.0, new["ticks_total"])
        return Rung(
            tuple(rates), new["mouths_late_total"] / max(1.0, new["mouths_total"]),
            new["pictures_skipped_total"] / ticks, new['pictures_skipped_by_total{cause="loop"}'] / ticks,
            self._most(new, "loop_late_seconds"), self._most(new, "painting_seconds"),
            new["cpu_seconds_total"] / seconds, new["drawing_seconds_total"] / seconds, now["strained"] == 1,
        )  # fmt: skip

    def _most(self, new: dict[str, float], name: str, share: float = 0.95) -> str:
        """The bucket of a histogram that a share of what is new lies in or below, in ms."""
        begin = f'{name}_bucket{{le="'
        found = [(key[len(begin) : -2], count) for key, count in new.items() if key.startswith(begin)]
        total, below = new[f"{name}_count"], "0"
        for bound, count in found:
            if total and count >= share * total:
                return f"<= {1000 * float(bound):.0f}" if bound != "+Inf" else f"> {1000 * float(below):.0f}"
            below = bound
        return "-"
