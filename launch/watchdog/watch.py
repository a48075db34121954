"""The agent's side: which rank has been silent for too long, and what to say of it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch.watchdog.heart import RECORD, STACKS, Beat, Limits, read_beat

__all__ = ["Hang", "Watch"]


@dataclass(frozen=True)
class Hang:
    """That ranks hang: which one most likely keeps the others, and the sentence."""

    rank: int
    sentence: str


@dataclass
class Watch:
    """Looks after the ranks of this node by their signs of life."""

    limits: Limits
    _pids: dict[int, int] = field(default_factory=dict)
    _files: dict[int, Path] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)

    def prepare(self, rank: int, path: Path) -> None:
        """Make the file that a rank will beat in; one that finds no room for it is not watched."""
        with contextlib.suppress(OSError):
            path.write_bytes(bytes(RECORD.size))
            self._files[rank] = path
        self._since[rank] = time.monotonic()

    def add(self, rank: int, pid: int) -> None:
        """The rank's process runs."""
        self._pids[rank] = pid

    def clear(self) -> None:
        """The ranks have ended."""
        self._pids.clear()
        self._files.clear()
        self._since.clear()

    def beats(self) -> dict[int, Beat]:
        """Each rank's last sign, the start of its process where there is none."""
        return {rank: self._beat(rank) for rank in self._pids}

    def find(self, living: set[int]) -> Hang | None:
        """The hang that there is; None while every one of the ``living`` ranks is within its time."""
        now = time.monotonic()
        beats = {rank: beat for rank, beat in self.beats().items() if rank in living}
        if not any(now > beat.until_s for beat in beats.values()):
            return None
        return describe(beats, {rank for rank in beats if is_suspended(self._pids[rank])}, now)

    def is_silent(self) -> bool:
        """Whether some rank has said nothing for half of its time: another node's agent may have been quicker."""
        now = time.monotonic()
        return any(now > (beat.at_s + beat.until_s) / 2 for beat in self.beats().values())

    def ask_for_stacks(self) -> None:
        """Have every rank print its stacks; one that was suspended is woken for it."""
        for pid in self._pids.values():
            for number in (STACKS, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _beat(self, rank: int) -> Beat:
        since = self._since[rank]
        if rank not in self._files:
            return Beat(since, math.inf, 0, 0)
        return read_beat(self._files[rank]) or Beat(since, since + self.limits.slow_s, 0, 0)


def describe(beats: Mapping[int, Beat], suspended: set[int], now: float) -> Hang:
    """Name the rank that is furthest behind: the others wait for it."""
    behind = min(beats, key=lambda rank: (rank not in suspended, beats[rank].batches, beats[rank].place, rank))
    beat = beats[behind]
    silent_s = now - min(one.at_s for one in beats.values())
    words = "is suspended (SIGSTOP)" if behind in suspended else beat.words
    others = {rank: one for rank, one in beats.items() if rank != behind}
    level = [rank for rank, one in others.items() if (one.batches, one.place) == (beat.batches, beat.place)]
    sentence = f"rank {behind} on {socket.gethostname()} hangs: it {words}, and nothing has moved for {silent_s:.0f} s"
    if behind not in suspended and level:
        sentence += f"; {len(level)} other{'s'[: len(level) != 1]} of this node stand{'s'[: len(level) == 1]} there too"
    elif others:
        first = next(iter(others))
        sentence += f"; rank {first} {others[first].words}"
        sentence += f", and {len(others) - 1} more wait" if len(others) > 1 else ""
    return Hang(behind, f"{sentence}. Each rank's stacks are above and in its log.")


def is_suspended(pid: int) -> bool:
    """Whether somebody has stopped the process; False where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False
