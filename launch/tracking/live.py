"""Send a run while it goes on, or as soon as it has ended, in a process of its own that nobody waits for.

``python -m launch.tracking.live PART WHEN PATIENCE_S``: it looks for the server now and then, and starts
the client's own sync that follows a growing file. When the run has ended it sends what is missing, and gives up after a
time; `anchor track sync` sends the rest then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from anchor.errors import AnchorError
from launch.locks import hold
from launch.tracking.account import look_at_server
from launch.tracking.sync import SYNC_LOCK, Part, end_client, find_parts, mark_sent, send, sync_environment

__all__ = ["main", "start_beside"]

PAUSE_S = 5.0
LOOK_EVERY_S = 60.0  # for a server that did not answer


def start_beside(part: Path, when: str, patience_s: float, environment: Mapping[str, str]) -> None:
    """Start the process for ``part``, a folder of wandb's; ``when`` is ``live`` or ``end``.

    It outlives this one, and the run by ``patience_s`` and a little more.

    Raises:
        OSError: it cannot be started.
    """
    with (part.parent / "sync.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "launch.tracking.live", str(part), when, str(patience_s)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**environment, "PYTHONSAFEPATH": "1"},
        )


def main(words: list[str]) -> int:
    """Send one part, and those before it; 0 if the server has everything."""
    folder, when, patience_s = Path(words[0]), words[1], float(words[2])
    part = next(found for found in find_parts(folder.parent) if found.folder.name == folder.name)
    with hold(folder.parent / SYNC_LOCK, patience_s=patience_s) as is_ours:
        if not is_ours:
            return 1
        if when == "live" and _send_earlier(part, patience_s) and _follow(part, patience_s):
            mark_sent(part)
        while part.is_open:
            time.sleep(PAUSE_S)
        for each in find_parts(folder.parent):
            if not each.is_sent:
                if trouble := look_at_server():
                    print(trouble, flush=True)
                    return 1
                try:
                    send(each, patience_s)
                except AnchorError as error:
                    print(error, flush=True)
                    return 1
    return 0


def _send_earlier(part: Part, patience_s: float) -> bool:
    """What the run wrote before its last resume; False where that is not on the server when the run ends."""
    for earlier in find_parts(part.folder.parent):
        while earlier.started < part.started and not earlier.is_sent:
            if not look_at_server():
                try:
                    send(earlier, patience_s)
                except AnchorError as error:
                    print(error, flush=True)
            if not earlier.is_sent and not _wait_while_open(part, LOOK_EVERY_S):
                return False
    return True


def _follow(part: Part, patience_s: float) -> bool:
    """Run the client's sync beside the run until both have ended; whether everything was sent."""
    while look_at_server():
        if not _wait_while_open(part, LOOK_EVERY_S):
            return False
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", str(part.folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=sync_environment(part), start_new_session=True)
    try:
        while process.poll() is None and part.is_open:
            time.sleep(PAUSE_S)
        deadline = time.monotonic() + patience_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return process.poll() == 0 and any(part.folder.glob("*.wandb.synced")) and not part.is_open
    finally:
        end_client(process)


def _wait_while_open(part: Part, seconds: float) -> bool:
    """Wait, but no longer than the run goes on; whether it does."""
    deadline = time.monotonic() + seconds
    while part.is_open and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return part.is_open


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
