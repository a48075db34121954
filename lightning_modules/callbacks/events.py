"""What the watchdogs found, one JSON object a line, beside the run's other records."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from anchor.files import append_whole

__all__ = ["add_event"]


def add_event(path: Path | None, event: dict[str, Any]) -> None:
    """Append ``event`` and the time; a file that cannot be written is no reason to stop."""
    if path is None:
        return
    line = json.dumps({**event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}, ensure_ascii=False)
    with suppress(OSError):
        append_whole(path, line + "\n")
