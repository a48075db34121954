"""What a sweep knows about itself on disk: ``sweep.json`` in its folder, ``job.json`` in the folder of each job."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from anchor.errors import ConfigError
from anchor.files import read_json, write_json
from launch.locks import is_held

__all__ = ["JOB_LOCK", "SWEEP", "SWEEP_LOCK", "Job", "Record", "Status", "Sweep", "read_record", "read_sweep"]

SWEEP, RECORD = "sweep.json", "job.json"
SWEEP_LOCK, JOB_LOCK = ".sweep.lock", ".job.lock"
VERSION = 1

Status = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its number, its overrides as Hydra writes them, its folder within the sweep's."""

    number: int
    overrides: tuple[str, ...]
    folder: str


@dataclass
class Record:
    """What a job says about itself. ``value`` is the best that ``monitor`` was, by ``mode``."""

    status: Status = "waiting"
    value: float | None = None
    monitor: str = ""
    mode: str = "min"
    reason: str = ""  # why it failed or stopped

    def save(self, folder: Path) -> None:
        """Write ``job.json``."""
        write_json(folder / RECORD, dataclasses.asdict(self))


@dataclass
class Sweep:
    """A sweep: what was asked (``definition``, the overrides as typed), and the jobs that came of it so far."""

    folder: Path
    sweeper: str
    definition: list[str]
    keys: list[str]  # what is varied
    jobs: list[Job] = field(default_factory=list)
    name: str = ""  # for trackers: the same in every job and after a restart

    def __post_init__(self) -> None:
        self.name = self.name or f"{self.folder.resolve().name}-{uuid.uuid4().hex[:6]}"

    def save(self) -> None:
        """Write ``sweep.json``."""
        content = {"version": VERSION, **dataclasses.asdict(self)}
        del content["folder"]  # it may be moved
        write_json(self.folder / SWEEP, content)

    def folder_of(self, job: Job) -> Path:
        """Where ``job`` runs."""
        return self.folder / job.folder

    def record_of(self, job: Job) -> Record:
        """What ``job`` says about itself; one that says it runs while nobody runs it was stopped by force."""
        return read_record(self.folder_of(job))

    def check_same(self, sweeper: str, definition: Sequence[str]) -> None:
        """See that this sweep is what was asked before.

        Raises:
            ConfigError: it is another one; names the first difference.
        """
        other = "Give another hydra.sweep.dir, or the overrides that it was started with."
        if self.sweeper != sweeper:
            raise ConfigError(
                f"{self.folder} holds a sweep by hydra/sweeper={self.sweeper}, and now it is {sweeper}. {other}"
            )
        gone = [text for text in self.definition if text not in definition]
        new = [text for text in definition if text not in self.definition]
        if gone or new:
            was, now = (" ".join(sorted(texts)) or "nothing" for texts in (gone, new))
            raise ConfigError(f"{self.folder} holds another sweep: there it was {was}, and now it is {now}. {other}")


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep in ``folder``; None where there is none.

    Raises:
        ConfigError: it was written by a newer version, or is damaged.
    """
    path = folder / SWEEP
    content = read_json(path)
    if content is None:
        if path.exists():
            raise ConfigError(f"{path} cannot be read. It is damaged; give another hydra.sweep.dir.")
        return None
    if content.pop("version", None) != VERSION:
        raise ConfigError(f"{path} is of another version of anchor, and this one knows version {VERSION}.")
    try:
        jobs = [Job(job["number"], tuple(job["overrides"]), job["folder"]) for job in content.pop("jobs")]
        return Sweep(folder=folder, jobs=jobs, **content)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path} lacks something ({error}). It is damaged; give another hydra.sweep.dir.") from None


def read_record(folder: Path) -> Record:
    """What the job in ``folder`` says about itself; what nobody could have written counts as nothing."""
    content: dict[str, Any] = read_json(folder / RECORD) or {}
    kinds = {"value": (int, float, type(None))}
    known = {item.name: kinds.get(item.name, (str,)) for item in dataclasses.fields(Record)}
    sound: dict[str, Any] = {key: value for key, value in content.items() if isinstance(value, known.get(key, ()))}
    record = Record(**sound)
    if record.status not in get_args(Status):
        return Record()
    if record.status == "running" and not is_held(folder / JOB_LOCK):
        record.status, record.reason = "stopped", "its process ended without a word"
    return record
