"""`anchor track sync`: send what runs wrote offline, in order, once, in bounded time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from anchor.errors import ConfigError
from launch.locks import hold, is_held
from launch.tracking.account import HOW_TO_LOG_IN, has_key, look_at_server, shown_server

__all__ = [
    "SENT",
    "SYNC_LOCK",
    "Part",
    "end_client",
    "find_parts",
    "mark_sent",
    "send",
    "sync",
    "sync_environment",
]

SENT = "sent-by-anchor"  # beside a part's file, when the server has all of it
SYNC_LOCK, TRACKER_LOCK = "sync.lock", "tracker.lock"
TROUBLE = ("ERROR", "panic:", "Not authenticated", "Traceback", "Error:")  # how the client's lines of failure begin
PART = re.compile(r"offline-run-(\d{8}_\d{6})-(.+)")


class Part(NamedTuple):
    """What one start of a run wrote: a folder of wandb's."""

    folder: Path
    started: str  # as in its name: sorts by time
    run_id: str

    @property
    def is_sent(self) -> bool:
        """Whether the server has it."""
        return (self.folder / SENT).exists()

    @property
    def is_open(self) -> bool:
        """Whether a run is still writing it."""
        newest = max(find_parts(self.folder.parent), key=lambda part: part.started)
        return newest == self and is_held(self.folder.parent / TRACKER_LOCK)


def sync(path: Path = Path("runs"), *, timeout: float = 600.0, again: bool = False) -> None:
    """Send to the wandb server what the runs below a folder wrote offline.

    The parts of a run that was resumed are sent in their order and become one run there. What was sent is marked and
    not sent twice; what a run is still writing waits until it has ended.

    Args:
        path: a run's folder, or one with many runs below it.
        timeout: in seconds, for all of it; what was not sent by then is sent by the next call.
        again: send what was sent before once more, such as to another server.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder. Give a run's folder: anchor track sync RUN_DIR.")
    path = path.resolve()
    parts = find_parts(path)
    if not parts:
        raise ConfigError(f"{path}: no run below it was tracked. `anchor train ... logger=wandb` tracks one.")
    waiting = [part for part in parts if again or not part.is_sent]
    if not waiting:
        print(f"anchor track sync: nothing to send; all {len(parts)} parts of runs below {path} were sent before.")
        return
    if not has_key():
        raise ConfigError(f"there is no wandb key for {shown_server()}. {HOW_TO_LOG_IN}, and call this again.")
    if trouble := look_at_server():
        raise ConfigError(f"{trouble} Nothing was sent or lost; call this again.")
    deadline = time.monotonic() + timeout
    sent = skipped = 0
    for folder in dict.fromkeys(part.folder.parent for part in waiting):
        with hold(folder / SYNC_LOCK) as is_ours:
            if not is_ours:
                print(f"anchor track sync: {folder.parent} is being sent by another process.", file=sys.stderr)
                skipped += 1
                continue
            for part in (part for part in waiting if part.folder.parent == folder):
                if part.is_open:
                    print(f"anchor track sync: {folder.parent} is still running; the rest is sent after its end.")
                    skipped += 1
                    break
                send(part, deadline - time.monotonic())
                sent += 1
                print(f"anchor track sync: sent {part.folder} as {part.run_id}.", flush=True)
    if not sent and skipped:
        print("anchor track sync: nothing was sent.")


def send(part: Part, timeout_s: float) -> None:
    """Send one part with wandb's own command, and mark it.

    Raises:
        ConfigError: it was not sent, or not in time.
    """
    log = part.folder / "logs" / "sync.log"
    log.parent.mkdir(exist_ok=True)
    for mark in part.folder.glob("*.wandb.synced"):  # the client's own mark, which it also sets where it gave up
        mark.unlink()
    command = [sys.executable, "-m", "wandb", "sync", str(part.folder)]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=sync_environment(part),
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(max(0.1, timeout_s))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_client(process)
    said = log.read_text(encoding="utf-8", errors="replace")
    if status is None:
        raise ConfigError(
            f"{part.folder} could not be sent to {shown_server()} in time. What is missing goes with the next call; "
            f"timeout= gives it longer. The client's words are in {log}."
        )
    if status or not any(part.folder.glob("*.wandb.synced")) or _trouble(said):
        raise ConfigError(
            f"{part.folder} could not be sent to {shown_server()}: {_trouble(said) or f'status {status}'}. "
            f"Nothing is lost; call this again. The client's words are in {log}."
        )
    mark_sent(part)


def mark_sent(part: Part) -> None:
    """Remember that the server has all of ``part``."""
    (part.folder / SENT).write_text(f"{shown_server()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n", encoding="utf-8")


def sync_environment(part: Part) -> dict[str, str]:
    """Variables for the client's own sync of ``part``."""
    data = str(part.folder.parent / "data")  # where files wait that are to be uploaded
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # of another client
    return {**own, "WANDB_MODE": "online", "WANDB_DATA_DIR": data, "PYTHONSAFEPATH": "1", "NO_COLOR": "1"}


def find_parts(path: Path) -> list[Part]:
    """Every part below ``path`` in the order of their starts, or ``path`` itself if it is one."""
    return sorted(_parts(path), key=lambda part: (part.started, str(part.folder)))


def _parts(path: Path) -> Iterator[Part]:
    for folder in [path, *(found for found in path.rglob("offline-run-*") if found.is_dir())]:
        match = PART.fullmatch(folder.resolve().name)
        if match and any(folder.glob("run-*.wandb")):
            yield Part(folder, match[1], match[2])


def end_client(process: subprocess.Popen[bytes]) -> None:
    """End the client with the processes that it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _trouble(said: str) -> str:
    """The line of the client's words that tells of a failure."""
    lines = [line.strip().removeprefix("wandb: ") for line in said.splitlines()]
    return next((line[:200] for line in lines if line.startswith(TROUBLE)), "")
