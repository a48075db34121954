"""How a rank tells its agent why it ended, and which of several ranks was the first to fail."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = [
    "BAD_INPUT",
    "FAILURE_FILE",
    "HUNG",
    "STOPPED",
    "Failure",
    "describe_status",
    "find_first",
    "read_failure",
    "report",
    "show",
    "speaks_of_another",
]

FAILURE_FILE = "ANCHOR_FAILURE_FILE"  # where the agent wants to read it
BAD_INPUT = 2
HUNG = 124  # as timeout(1) has it
STOPPED = (75, 129, 143)  # saved and left at a signal: SIGINT and SIGUSR1, SIGHUP, SIGTERM

# What a rank says when another one has gone: of gloo, NCCL, CNCL, the key-value store, and C++ that falls with them.
ECHO = re.compile(
    r"connection (was )?(closed|reset|refused|aborted)|closed by peer|broken pipe|socket|remote process exited"
    r"|(nccl|cncl|mccl)\w*(remote|system|in progress)|processgroup|(watchdog|collective|store).*time|timed out waiting",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Failure:
    """The end of one rank that was not the end of its work."""

    rank: int  # -1: a node, not one of its ranks
    host: str
    status: int  # of the process; -n where signal n ended it
    time_s: float  # since 1970, when it was noticed
    text: str = ""  # a traceback, or one sentence; empty where it left without a word
    is_sentence: bool = False  # for the user, and the same whichever rank says it

    @property
    def exit_status(self) -> int:
        """As a shell would have it."""
        return self.status if self.status >= 0 else 128 - self.status

    @property
    def is_echo(self) -> bool:
        """Whether it only says that another rank has gone."""
        return self.status == -signal.SIGABRT or (not self.is_sentence and speaks_of_another(self.text))

    @property
    def who(self) -> str:
        """``rank 1 on host``."""
        return f"rank {self.rank} on {self.host}" if self.rank >= 0 else self.host

    def to_json(self) -> str:
        """One line, for another node."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Failure:
        """What ``to_json`` wrote."""
        return Failure(**json.loads(text))


def speaks_of_another(text: str) -> bool:
    """Whether a traceback, or an error's words, end in what a rank says when another one has gone."""
    return bool(ECHO.search(text.strip().rpartition("\n")[2]))


def report(text: str, status: int, is_sentence: bool = False) -> bool:
    """Leave word for the agent; False where there is none, or it cannot be reached: then say it yourself."""
    path = os.environ.get(FAILURE_FILE)
    if not path:
        return False
    failure = Failure(
        int(os.environ.get("RANK", "0")), socket.gethostname(), status, time.time(), text.strip(), is_sentence
    )
    partial = Path(f"{path}.partial")
    try:
        partial.write_text(failure.to_json(), encoding="utf-8")
        partial.replace(path)
    except OSError:
        return False
    return True


def read_failure(path: Path, rank: int, status: int, ended_s: float) -> Failure:
    """Why ``rank`` ended with ``status``: its own words, if it left any at ``path``."""
    try:
        said = Failure.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return Failure(rank, socket.gethostname(), status, ended_s)
    return Failure(rank, said.host, status, said.time_s, said.text, said.is_sentence)


def find_first(failures: Iterable[Failure]) -> Failure:
    """The one that the others followed from: the earliest that neither speaks of another's going nor stopped."""
    return min(failures, key=lambda one: (one.is_echo, one.status in STOPPED, one.time_s, one.rank))


def show(first: Failure, others: Iterable[Failure], log: Path) -> str:
    """The block that ends a failed run: what the first rank said whole, the others in a line each."""
    lines = [f"{first.who} failed first, {describe_status(first.status)}:"]
    said = first.text or _tail(log) or "It left without a word."
    lines += [f"  {line}" for line in said.splitlines()]
    for other in others:
        last = other.text.strip().rpartition("\n")[2] or describe_status(other.status)
        lines.append(f"{other.who} ended after it: {last[:200]}")
    return "\n".join([*lines, f"The whole output of each rank stands in {log.parent}."])


def describe_status(status: int) -> str:
    """``with status 1``, ``hanging`` or ``killed by SIGKILL``."""
    if status == HUNG:
        return "hanging"
    if status >= 0:
        return f"with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}" + (" (out of memory, or by hand)" if name == "SIGKILL" else "")


def _tail(log: Path, lines: int = 12) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    last = [line for line in text.splitlines() if line.strip() and not line.startswith("--- ")][-lines:]
    return "\n".join(["It left no traceback. The end of its output:", *last]) if last else ""
