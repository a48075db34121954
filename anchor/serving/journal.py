"""What the server tells its operator: one line an event, as text or as JSON.

No secret and nothing that was said stands in it: sessions go by a number, for their id lets in who knows it, and of a
text there is only its length.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Literal, TextIO

__all__ = ["Form", "Journal"]

Form = Literal["text", "json"]
UNSAID = ("text", "question", "id", "token")  # of an event: told by their length, or not at all


class Journal:
    """Lines to ``out``, by default standard output; one that cannot be written is dropped, and the service goes on."""

    def __init__(self, form: Form = "text", out: TextIO | None = None) -> None:
        self._form, self._out = form, out

    def tell(self, event: str, about: Mapping[str, object] | None = None, sentence: str = "") -> None:
        """One event. ``sentence`` says the same to a reader of text."""
        facts = {key: value for key, value in (about or {}).items() if key not in UNSAID}
        for key in ("text", "question"):
            if about and isinstance(about.get(key), str):
                facts["characters"] = len(str(about[key]))
        now = time.time()
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z"
        if self._form == "json":
            line = json.dumps({"at": at, "event": event, **facts}, ensure_ascii=False, default=str)
        elif sentence:
            line = sentence
        else:
            line = " ".join([at, event, *(f"{key}={_plain(value)}" for key, value in facts.items())])
        with contextlib.suppress(OSError, ValueError):
            print(line, file=self._out or sys.stdout, flush=True)

    def take_over(self, *loggers: str) -> None:
        """Have the warnings of other libraries' ``loggers`` as events."""
        for name in loggers:
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = [_Handler(self)], False
            logger.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        lines = record.getMessage().splitlines() or [""]
        about = {"level": record.levelname.lower(), "from": record.name, "message": lines[0][:300]}
        if record.exc_info and record.exc_info[1] is not None:
            about["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"[:300]
        self._journal.tell("log", about)


def _plain(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text[1:-1] if text[:1] == '"' and text[1:-1].replace("_", "").isalnum() else text
