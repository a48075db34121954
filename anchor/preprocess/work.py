"""The folder beside ``out`` where finished clips stay until the set is whole: nothing that is done is done twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from anchor.errors import ShardError
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.clip import process_clip
from anchor.preprocess.memory import release_memory
from anchor.preprocess.results import ClipResult
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sources import Source
from anchor.preprocess.spool import writing
from anchor.preprocess.watch import beat, rest

__all__ = ["RECIPE_VERSION", "FinishedClips", "WorkFolder", "file_states"]

RECIPE_VERSION = 4  # raise it when the same source and arguments would give other shards
RESULT = "result.json"


@dataclass(frozen=True)
class FinishedClips:
    """Clips that are done, one folder each, which appears at once and with its result."""

    root: Path

    def load(self, source: Source, settings: ClipSettings) -> ClipResult | None:
        """The result of ``source`` where it was finished with these settings and the file has not changed since."""
        folder = self.folder(source, settings)
        try:
            saved = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            if saved["made_from"] != _made_from(source, settings):
                return None
            result = ClipResult.from_json(saved["result"])
            for segment in filter(lambda segment: segment.num_bytes, result.segments):
                size = sum(path.stat().st_size for path in (folder / segment.key).iterdir())
                if size != segment.num_bytes:
                    return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return result

    def make(self, source: Source, settings: ClipSettings) -> ClipResult:
        """Process ``source`` and keep what became of it.

        Raises:
            WriteError: the folder cannot be written.
        """
        beat()
        folder, doing = self.folder(source, settings), self.root / f"doing-{os.getpid()}"
        made_from = _made_from(source, settings)  # before it is read: a file that changes meanwhile is read again
        shutil.rmtree(doing, ignore_errors=True)
        with writing(doing):
            doing.mkdir(parents=True)
        try:
            result = process_clip(source, settings, doing)
            if result.is_settled:
                with writing(folder):
                    text = json.dumps({"made_from": made_from, "result": result.to_json()})
                    (doing / RESULT).write_text(text, encoding="utf-8")
                    shutil.rmtree(folder, ignore_errors=True)
                    doing.rename(folder)
        finally:
            shutil.rmtree(doing, ignore_errors=True)
            release_memory()
            rest()
        return result

    def folder(self, source: Source, settings: ClipSettings) -> Path:
        """Where the segments of ``source`` lie, a folder each. Keys have no dots."""
        halves = ".halves" if settings.min_segments > 1 else ""
        return self.root / f"{source.key}{halves}"


class WorkFolder:
    """``.NAME.work`` beside ``out``, for one process at a time; use it in a with statement.

    Raises:
        ShardError: another process is at work on the same ``out``, or the folder cannot be made.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f".{out.name}.work")
        self.finished = FinishedClips(self.path / "clips")
        self._out = out
        self._lock: IO[str] | None = None

    def __enter__(self) -> WorkFolder:
        try:
            self._lock = self._take()
            for path in (*self.finished.root.glob("doing-*"), self.path / "set", self.path / "old"):
                shutil.rmtree(path, ignore_errors=True)  # of a run that was ended
            self.finished.root.mkdir(exist_ok=True)
        except OSError as error:
            raise ShardError(
                f"out={self._out} cannot be written: {self.path} cannot be made ({error.strerror or error}). "
                "Check the folder and its rights, or give another out=."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self.finished.root.glob("doing-*"):
            shutil.rmtree(path, ignore_errors=True)
        if not self.count():
            self.remove()
        if self._lock is not None:
            self._lock.close()

    def count(self) -> int:
        """How many clips are finished."""
        return sum(1 for _ in self.finished.root.glob(f"*/{RESULT}"))

    def remove(self) -> None:
        """Delete it: the set is whole, or nothing can be used."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _take(self) -> IO[str]:
        """The lock, which the system releases when this process ends, however it ends."""
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise ShardError(
                    f"out={self._out}: another `anchor preprocess` is writing it. Wait for it, or give another out=."
                ) from None
            except OSError:  # a file system without locks
                return lock
            with contextlib.suppress(OSError):  # the other one may have finished and removed the folder meanwhile
                if os.path.samestat(os.fstat(lock.fileno()), (self.path / "lock").stat()):
                    return lock
            lock.close()


def file_states(sources: list[Source]) -> list[tuple[str, str, int, int]]:
    """Name, file, bytes and time of change of everything that is read."""
    states = []
    for source in sources:
        for path in filter(None, (source.path, source.truth_path)):
            state = path.stat()
            states.append((source.name, path.name, state.st_size, state.st_mtime_ns))
    return states


def _made_from(source: Source, settings: ClipSettings) -> str:
    parts = [RECIPE_VERSION, mel_config_hash(), asdict(settings), source.key, source.speaker, file_states([source])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
