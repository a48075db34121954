"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import bisect
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anchor.serving.station import Station

__all__ = ["Histogram", "prometheus_text"]

BOUNDS_S = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0)


class Histogram:
    """How often something took how long, in seconds; ``bounds_s`` are those of its buckets, ascending."""

    def __init__(self, bounds_s: Sequence[float] = BOUNDS_S) -> None:
        self._bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(self._bounds_s, seconds)] += 1
        self.sum += seconds

    def lines(self, name: str, help_text: str) -> list[str]:
        """As Prometheus reads it: each bucket holds what is in those below."""
        found = [f"# HELP anchor_{name} {help_text}", f"# TYPE anchor_{name} histogram"]
        total = 0
        for bound, count in zip([*map(str, self._bounds_s), "+Inf"], self.counts, strict=True):
            total += count
            found.append(f'anchor_{name}_bucket{{le="{bound}"}} {total}')
        return [*found, f"anchor_{name}_sum {self.sum:g}", f"anchor_{name}_count {total}"]


def prometheus_text(station: Station) -> str:
    """The text format 0.0.4."""
    sessions = [live.session for live in station.sessions.values()]
    total = station.total_stats()
    skews = [abs(live.report["skew_ms"]) / 1000 for live in station.sessions.values() if "skew_ms" in live.report]
    values: list[tuple[str, str, str, float | dict[str, float]]] = [
        ("up_seconds", "gauge", "since the server began", time.monotonic() - station.began),
        ("sessions", "gauge", "open sessions", len(sessions)),
        ("sessions_limit", "gauge", "as many may be open", station.settings.max_sessions),
        ("sessions_speaking", "gauge", "sessions that have something to say", station.door.num_speaking),
        (
            "sessions_speaking_limit", "gauge", "as many may speak at once, if all show this avatar",
            {f'avatar="{_label(name)}"': station.door.limit(name) for name in station.avatars},
        ),
        ("sessions_opened_total", "counter", "sessions since the start", station.num_opened),
        ("refused_total", "counter", "requests refused for want of room", station.door.num_refused),
        ("interruptions_total", "counter", "speech that was cut short", total.interruptions),
        ("viewers", "gauge", "readers of all sessions", sum(session.hub.num_viewers for session in sessions)),
        ("viewer_skew_seconds", "gauge", "greatest skew of sound and picture a page reports", max(skews, default=0)),
        ("packets_dropped_total", "counter", "for readers that were too slow", total.dropped),
        ("ticks_total", "counter", "ticks of all sessions, 25 a second each", total.ticks),
        ("mouths_total", "counter", "ticks whose mouth was to be drawn", total.spoken),
        ("mouths_late_total", "counter", "of them, those that came too late", total.late),
        ("pictures_skipped_total", "counter", "left out to keep the clock", total.skipped),
        (
            "pictures_skipped_by_total", "counter", "of them, by what was late: the event loop, or painting",
            {'cause="loop"': total.skipped_by_loop, 'cause="painting"': total.skipped - total.skipped_by_loop},
        ),
        ("strained", "gauge", "whether those on air stutter: nobody is let in", float(bool(station.door.strain))),
        ("clock_restarts_total", "counter", "clocks that began anew after a second without time", total.restarts),
        (
            "mouths_drawn_total", "counter", "in batches of a size",
            {f'size="{size}"': count for size, count in sorted(total.batch_sizes.items())},
        ),
        (
            "batch_seconds", "gauge", "of the drawing process for a batch, as measured when the avatar was opened",
            {
                f'avatar="{_label(name)}",size="{size}"': seconds
                for name in station.avatars for size, seconds in station.door.cost(name).mouths.items()
            },
        ),
        (
            "picture_seconds", "gauge", "of one core for a picture, pasted and encoded with its sound",
            {f'avatar="{_label(name)}"': station.door.cost(name).picture_s for name in station.avatars},
        ),
        (
            "idle_picture_seconds", "gauge", "the same, where no mouth is drawn",
            {f'avatar="{_label(name)}"': station.door.cost(name).idle_s for name in station.avatars},
        ),
        ("speech_waiting_seconds", "gauge", "made and not heard yet", sum(s.timeline.waiting_s for s in sessions)),
        ("speech_starved_total", "counter", "ticks in which a stream of speech was dry", total.starved),
        ("drawing_queue", "gauge", "mouths asked for and not answered", station.drawer.num_waiting),
        ("drawing_seconds_total", "counter", "time spent in drawing", station.drawing_s),
        ("drawing_restarts_total", "counter", "drawing processes that died", station.drawer.num_restarts),
        ("drawing_alive", "gauge", "whether mouths are drawn now", float(station.drawer.is_alive)),
        ("drawing_spare", "gauge", "whether a successor stands ready", float(station.drawer.has_spare)),
        ("cpu_seconds_total", "counter", "of the server itself", time.process_time()),
        ("memory_bytes", "gauge", "of the server itself", _resident_bytes()),
        ("memory_most_bytes", "gauge", "the most it has had",
         1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
    ]  # fmt: skip
    lines = []
    for name, kind, help_text, value in values:
        lines += [f"# HELP anchor_{name} {help_text}", f"# TYPE anchor_{name} {kind}"]
        if isinstance(value, dict):
            lines += [f"anchor_{name}{{{labels}}} {one:g}" for labels, one in value.items()]
        else:
            lines.append(f"anchor_{name} {value:.12g}")
    lines += station.first_sound.lines("first_sound_seconds", "from a text to its first sound leaving the server")
    lines += station.first_lip.lines("first_lip_seconds", "from a text to its first drawn mouth leaving the server")
    pulse = station.pulse
    lines += pulse.loop_late.lines("loop_late_seconds", "by which the event loop was late for a tick")
    lines += pulse.painting.lines("painting_seconds", "from asking for a picture, pasted and encoded, to having it")
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
