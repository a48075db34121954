"""Signs of life: where a rank stands, and until when it may be silent.

A rank writes them into 32 bytes of memory that it shares with its agent, which costs about a microsecond; nothing is
sent, and no file system is asked. What hangs cannot say so: whoever reads them does.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import mmap
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from anchor.errors import ConfigError
from launch.failures import HUNG

__all__ = ["HEART", "HEART_FILE", "PLACES", "STACKS", "Beat", "Heart", "Limits", "read_beat", "show_stacks_at"]

HEART_FILE = "ANCHOR_HEART_FILE"  # where the agent looks
STACKS = signal.SIGQUIT  # asks a process for its stacks, as Java's do
RECORD = struct.Struct("<ddqq")  # monotonic seconds of the beat and of the end of patience, batches done, place
LOOK_S = 1.0  # how often a rank without an agent looks at itself
HELD_S = 30.0  # later than that thread a rank is given up whose interpreter is held by a call into C

# What a rank does in a batch, in this order: of ranks that wait for each other the others wait for the hindmost.
PLACES = (
    "starts",
    "waits for its loader or a callback",
    "computes",
    "is in its backward pass",
    "takes its optimizer step",
    "saves",
    "validates",
    "ends the run",
)


@dataclass(frozen=True)
class Limits:
    """How long a rank may be silent, in seconds; infinite where nobody watches."""

    hang_s: float = 900.0
    slow_s: float = 1800.0

    @staticmethod
    def of(options: Mapping[str, Any] | None) -> Limits:
        """The configuration's ``watchdog``.

        Raises:
            ConfigError: a value that is no time.
        """
        given = {**vars(Limits()), **(options or {})}
        for key, value in given.items():
            if value is None:
                given[key] = math.inf
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
                raise ConfigError(f"watchdog.{key}={value} is no time. Give seconds from 1 on, or null for no limit.")
        if math.isinf(given["hang_s"]):
            given["slow_s"] = math.inf
        return Limits(given["hang_s"], max(given["hang_s"], given["slow_s"]))


@dataclass(frozen=True)
class Beat:
    """The last sign of a rank."""

    at_s: float
    until_s: float
    batches: int
    place: int

    @property
    def words(self) -> str:
        """``takes its optimizer step in batch 12``."""
        return PLACES[self.place] + (f" in batch {self.batches}" if 0 < self.place < len(PLACES) - 1 else "")


def read_beat(path: Path) -> Beat | None:
    """The last sign in ``path``; None before the first."""
    try:
        data = path.read_bytes()
        beat = Beat(*RECORD.unpack(data))
    except (OSError, struct.error):
        return None
    return beat if beat.at_s > 0 and 0 <= beat.place < len(PLACES) else None


class Heart:
    """Of this process."""

    def __init__(self) -> None:
        self.limits = Limits(math.inf, math.inf)
        self.batches = self.place = 0
        self._until = math.inf
        self._memory: mmap.mmap | None = None

    def start(self, limits: Limits, log: Path | None = None) -> None:
        """Begin to beat. Without an agent a thread of this process watches, and writes stacks to ``log`` as well."""
        self.limits = limits
        path = os.environ.get(HEART_FILE)
        if path:
            with contextlib.suppress(OSError, ValueError), open(path, "r+b") as file:
                self._memory = mmap.mmap(file.fileno(), RECORD.size)
        self.beat(0, slow=True)
        if not path and math.isfinite(limits.hang_s) and is_started_by_others():
            threading.Thread(target=self._look, args=(log,), name="anchor-watchdog", daemon=True).start()

    def beat(self, place: int | None = None, batches: int | None = None, slow: bool = False) -> None:
        """Say where this rank stands; ``slow`` announces something that may take long."""
        self.place = self.place if place is None else place
        self.batches = self.batches if batches is None else batches
        now = time.monotonic()
        self._until = now + (self.limits.slow_s if slow else self.limits.hang_s)
        if self._memory is not None:
            self._memory[:] = RECORD.pack(now, self._until, self.batches, self.place)

    @contextlib.contextmanager
    def slowly(self, place: str) -> Iterator[None]:
        """While something is done that may take long; then it stands where it stood."""
        before = self.place
        self.beat(PLACES.index(place), slow=True)
        try:
            yield
        finally:
            self.beat(before)

    def rest(self) -> None:
        """Nobody needs to watch what follows."""
        self.limits = Limits(math.inf, math.inf)
        self.beat()

    def _look(self, log: Path | None) -> NoReturn:
        while True:
            left_s = self._until - time.monotonic()
            if left_s < 0:
                self._give_up(log)
            if math.isfinite(left_s):  # a call into C may keep this thread from running: then a thread of C's does it
                faulthandler.dump_traceback_later(left_s + HELD_S, exit=True)
            else:
                faulthandler.cancel_dump_traceback_later()
            time.sleep(LOOK_S)

    def _give_up(self, log: Path | None) -> NoReturn:
        rank = os.environ.get("RANK", "0")
        place = Beat(0.0, 0.0, self.batches, self.place).words
        print(f"anchor train: rank {rank} hangs: it {place}. The stacks of its threads:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        with contextlib.suppress(OSError):
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} hangs: it {place}\n")
                    file.flush()
                    faulthandler.dump_traceback(file, all_threads=True)
        os._exit(HUNG)


HEART = Heart()


def is_started_by_others() -> bool:
    """Whether torchrun, SLURM or the like started this rank; one that was started by hand may stand in a debugger."""
    return any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "SLURM_PROCID"))


def show_stacks_at(number: int = STACKS) -> None:
    """Answer the signal with the stacks of all threads on stderr, whatever the main thread does, and go on."""
    faulthandler.register(number, all_threads=True, chain=False)
