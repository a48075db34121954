"""What was damaged, and when it is too much: counted, written down, and ended over a limit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from anchor.errors import ConfigError, DamagedError, ShardError

__all__ = ["Damage", "Quarantine", "count_damaged"]

MIN_ALLOWED = 32  # windows: one bad frame lies in five windows and more references, and must not end a small run


@dataclass(frozen=True)
class Damage:
    """One damaged member that kept a window from being read, and what was shown in the window's place."""

    shard: str
    clip: str
    member: str
    what: str
    split: str
    epoch: int
    window: tuple[str, int]  # clip and centre frame
    shown: tuple[str, int] | None = None  # None: another wrong speech was drawn, the window itself is whole

    @staticmethod
    def of(error: DamagedError, split: str, epoch: int, window: tuple[str, int]) -> Damage:
        """The finding of ``error``, met in ``window``."""
        return Damage(error.shard, error.key, error.member, error.what, split, epoch, window)


class Quarantine:
    """Keeps the count of an epoch over all ranks and restarts, by the file that all of them write.

    Args:
        path: ``quarantine.jsonl``, one line per window that damage changed; None counts this rank alone.
        max_share: of an epoch's windows that damage may change before the run ends; 0 allows none, else 32 always may.

    Raises:
        ConfigError: ``max_share`` is no share.
    """

    def __init__(self, path: Path | str | None, max_share: float, rank: int = 0) -> None:
        if not 0 <= max_share <= 1:
            raise ConfigError(f"datamodule.max_damaged={max_share} is no share. Give 0 to 1, such as 0.001.")
        self.path, self.max_share, self.rank = Path(path) if path else None, max_share, rank
        self.count = 0  # windows that this rank had to change since it started
        self._windows: dict[int, set[tuple[str, int]]] = {}  # changed in each epoch, by any rank
        self._read, self._said = 0, 0

    def add(self, damages: Sequence[Damage], windows_in_epoch: int) -> None:
        """Count and write ``damages``.

        Raises:
            ShardError: the epoch holds more damage than is allowed.
        """
        for damage in damages:
            self.count += 1
            self._write(damage)
            if self.path is None:
                self._note(damage.epoch, damage.window)
            else:
                self._catch_up()
            self._check(damage, windows_in_epoch)

    def refuse(self, damage: Damage) -> ShardError:
        """Write down damage where none is allowed; the error to raise."""
        self._write(damage)
        return ShardError(
            f"{_where(damage)}: {damage.what}. A damaged window of validation would change what its scores mean. "
            f"Copy the shard again{self._see()}."
        )

    def _check(self, damage: Damage, windows_in_epoch: int) -> None:
        allowed = max(MIN_ALLOWED, int(self.max_share * windows_in_epoch)) if self.max_share else 0
        changed = len(self._windows[damage.epoch])
        if changed > allowed:
            raise ShardError(
                f"{changed} of the {windows_in_epoch} windows of epoch {damage.epoch} could not be read as they "
                f"were written, and {allowed} may be (datamodule.max_damaged={self.max_share:g}); the last: "
                f"{_where(damage)}: {damage.what}. Run `anchor shards verify`, and copy what it names "
                f"again{self._see()}."
            )
        if self.count >= 2 * self._said:  # the first, then at every doubling
            self._said = self.count
            shown = f"shown in its place: {damage.shown[0]!r} frame {damage.shown[1]}" if damage.shown else "drawn anew"
            print(
                f"anchor train: {_where(damage)}: {damage.what}; {shown}. {changed} window"
                f"{'s' * (changed > 1)} in this epoch; over {allowed} the run ends{self._see()}.",
                file=sys.stderr,
                flush=True,
            )

    def _see(self) -> str:
        return f" (list: {self.path})" if self.path else ""

    def _note(self, epoch: int, window: tuple[str, int]) -> None:
        self._windows.setdefault(epoch, set()).add(window)

    def _catch_up(self) -> None:
        """Read what all ranks have written since this one looked."""
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                for epoch, window in _changed(line):
                    self._note(epoch, window)

    def _write(self, damage: Damage) -> None:
        if self.path is None:
            return
        line = json.dumps({**asdict(damage), "rank": self.rank}, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line.encode())  # one write: lines of several ranks never mix
        finally:
            os.close(file)


def _where(damage: Damage) -> str:
    return f"{damage.shard}: clip {damage.clip!r}, {damage.member} is damaged"


def count_damaged(path: Path) -> int:
    """How many training windows ``quarantine.jsonl`` says were changed, each once in an epoch."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return len({found for line in file for found in _changed(line)})


def _changed(line: bytes) -> list[tuple[int, tuple[str, int]]]:
    """Epoch and window of a line on training; nothing of others, or of half a line that a full disk left."""
    try:
        record = json.loads(line)
        clip, frame = record["window"]
        return [(int(record["epoch"]), (str(clip), int(frame)))] if record["split"] == "train" else []
    except (ValueError, KeyError, TypeError):
        return []
