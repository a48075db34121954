"""Commands one after the other: what is finished is not repeated, what depends on a change is made anew."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError
from anchor.files import read_json, write_json
from anchor.signals import TerminatedError
from launch.locks import claim

__all__ = ["Chain", "Step", "StepError"]

RECORD = "steps.json"
ASIDE = ("gates=", "gates.", "accelerator=", "device=", "logger")  # what changes nothing of a result that is done
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class StepError(Exception):
    """A step ended with ``status``; it has said why."""

    def __init__(self, step: Step, status: int) -> None:
        super().__init__(f"stopped at {step.title!r} (status {status}). The same command goes on from here.")
        self.status = status


@dataclass(frozen=True)
class Step:
    """One command of `anchor`, and what it leaves."""

    name: str
    title: str
    words: tuple[str, ...]
    leaves: Path  # which shows that it is done
    folder: Path | None = None  # which a changed command must find empty

    @property
    def command(self) -> str:
        """As a user would type it."""
        return shlex.join(("anchor", *self.words))


class Chain:
    """Runs steps in the folder ``out`` and remembers them in ``out/steps.json``.

    A step's key is made of its command (gates and machines aside), of those of ``inputs`` (files or folders) that it
    names, and of the steps whose results it names: whatever changes, what hangs on it is made anew, in an empty
    folder, and nothing else. A step that was only stopped goes on where it was.
    """

    def __init__(self, out: Path, inputs: Sequence[Path] = (), descriptor: int = -1) -> None:
        self.out, self.inputs, self.descriptor = out, inputs, descriptor
        self.started = time.monotonic()
        self.record: dict[str, Any] = read_json(out / RECORD) or {}
        self.seen: list[tuple[Step, str]] = []

    @staticmethod
    @contextlib.contextmanager
    def opened(out: Path, inputs: Sequence[Path] = ()) -> Iterator[Chain]:
        """A chain that no other process runs at once; the lock outlives this process as long as its step does.

        Raises:
            ConfigError: another one does.
        """
        with claim(out / ".lock", f"{out}: a chain is running there") as descriptor:
            yield Chain(out, inputs, descriptor)

    def key(self, step: Step) -> str:
        """What ``step`` would be made of now."""
        made_of = [
            f"{other.name} {key} {_state(other.leaves)}"
            for other, key in self.seen
            if _names(step.words, other.folder) or _names(step.words, other.leaves)
        ]
        inputs = [_state(path) for path in self.inputs if _names(step.words, path)]
        words = [word for word in step.words if not word.startswith(ASIDE)]
        text = "\n".join([*words, *made_of, *inputs])
        return hashlib.sha256(text.encode()).hexdigest()

    def is_done(self, step: Step) -> bool:
        """Whether it need not run."""
        before = self.record.get(step.name, {})
        return bool(before.get("done")) and before.get("key") == self.key(step) and step.leaves.exists()

    def run(self, step: Step) -> bool:
        """Run ``step`` unless it is done; whether it ran.

        Raises:
            StepError: it failed, or stopped at a gate.
            ConfigError: its folder holds something that no step made.
            KeyboardInterrupt: it was stopped, and has left.
        """
        key, before = self.key(step), self.record.get(step.name, {})
        if self.is_done(step):
            self.seen.append((step, key))
            return False
        if step.folder is not None and before.get("key") != key and step.folder.exists():
            self._clear(step, step.folder)
        self._remember(step, key, 0.0, done=False)
        began = time.monotonic()
        try:
            status = self._call(step.words)
        finally:
            self._remember(step, key, time.monotonic() - began, done=False)
        if status or not step.leaves.exists():
            raise StepError(step, status or 1)
        self._remember(step, key, 0.0, done=True)
        self.seen.append((step, key))
        return True

    def seconds(self) -> float:
        """Since this start."""
        return time.monotonic() - self.started

    def note(self, step: Step, gates: list[dict[str, Any]]) -> None:
        """Remember the verdicts on what ``step`` left."""
        self.record[step.name]["gates"] = gates
        write_json(self.out / RECORD, self.record)

    def _clear(self, step: Step, folder: Path) -> None:
        if self.out.resolve() not in folder.resolve().parents or folder.is_symlink():
            raise ConfigError(f"{folder}: {step.title!r} would empty it, and it is not in {self.out}.")
        if step.name not in self.record and any(folder.iterdir()):
            raise ConfigError(
                f"{folder} was not made by this chain, and {step.title!r} would replace it. Give another out=."
            )
        shutil.rmtree(folder)

    def _remember(self, step: Step, key: str, seconds: float, done: bool) -> None:
        before = self.record.get(step.name, {})
        spent = before.get("seconds", 0.0) if before.get("key") == key else 0.0
        self.record[step.name] = {
            "title": step.title, "command": step.command, "key": key, "done": done,
            "seconds": round(spent + seconds, 1),
        }  # fmt: skip
        write_json(self.out / RECORD, self.record)

    def _call(self, words: Sequence[str]) -> int:
        """The status of the command, which has the terminal but gets signals from here alone, each once."""
        process = subprocess.Popen(
            [sys.executable, "-m", "anchor", *words],
            start_new_session=True,
            pass_fds=[self.descriptor] if self.descriptor >= 0 else [],
            preexec_fn=_end_with_parent,  # one thread: nothing else holds a lock here
        )
        try:
            status = process.wait()
        except KeyboardInterrupt as stop:
            process.send_signal(signal.SIGTERM if isinstance(stop, TerminatedError) else signal.SIGINT)
            process.wait()
            raise
        return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    """Ask the system to stop this command when the chain is killed: two of one folder must not run at once."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _names(words: Sequence[str], path: Path | None) -> bool:
    """Whether one of ``words`` names ``path``, or something in it."""
    return path is not None and any(re.search(rf"{re.escape(str(path))}(?=[/,\]]|$)", word) for word in words)


def _state(path: Path) -> str:
    """Name, size and time of a file, or of all files below a folder."""
    if not path.exists():
        return f"{path} missing"
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    states = [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    return hashlib.sha256(repr(states).encode()).hexdigest()
