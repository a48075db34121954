"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import resource
import time

from anchor.serving.station import Station

__all__ = ["prometheus_text"]


def prometheus_text(station: Station) -> str:
    """The text format 0.0.4."""
    sessions = [live.session for live in station.sessions.values()]
    stats = [session.stats for session in sessions]
    values = [
        ("up_seconds", "gauge", "since the server began", time.monotonic() - station.began),
        ("sessions", "gauge", "open sessions", len(sessions)),
        ("sessions_speaking", "gauge", "sessions that have something to say", station.num_speaking),
        ("sessions_speaking_limit", "gauge", "as many may speak at once", station.max_speaking),
        ("sessions_opened_total", "counter", "sessions since the start", station.num_opened),
        ("refused_total", "counter", "requests refused for want of room", station.num_refused),
        ("viewers", "gauge", "readers of all sessions", sum(session.hub.num_viewers for session in sessions)),
        ("ticks", "gauge", "ticks of the open sessions", sum(one.ticks for one in stats)),
        ("mouths", "gauge", "ticks of the open sessions whose mouth was to be drawn", sum(one.spoken for one in stats)),
        ("mouths_late", "gauge", "of them, those that came too late", sum(one.late for one in stats)),
        ("pictures_skipped", "gauge", "left out to keep the clock", sum(one.skipped for one in stats)),
        ("speech_waiting_seconds", "gauge", "made and not heard yet", sum(s.timeline.waiting_s for s in sessions)),
        ("drawing_restarts_total", "counter", "drawing processes that died", station.drawer.num_restarts),
        ("drawing_alive", "gauge", "whether mouths are drawn now", float(station.drawer.is_alive)),
        (
            "memory_bytes",
            "gauge",
            "most memory the server has had",
            1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        ),
    ]
    lines = []
    for name, kind, help_text, value in values:
        lines += [f"# HELP anchor_{name} {help_text}", f"# TYPE anchor_{name} {kind}", f"anchor_{name} {value:g}"]
    return "\n".join(lines) + "\n"
