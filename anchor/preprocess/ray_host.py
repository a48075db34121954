"""The process that holds a Ray cluster of this machine, and ends it whole, whatever becomes of the command.

It is started as a file, in a session of its own: Ctrl-C in a terminal reaches the command and not Ray's processes,
which would otherwise end under the command's hands; and all that the cluster ever starts is known by its session.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["end_session", "main"]

END_S = 10.0  # s for killed processes to be gone: one that waits for a disk takes its time


def end_session(session: int) -> None:
    """Kill every process of a session but this one, and wait for them. Nothing is known of sessions without /proc."""
    deadline = time.monotonic() + END_S
    while left := _members(session):
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _members(session: int) -> list[int]:
    """The processes of a session that run, without this one."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if int(its_session) == session and state not in "ZX" and int(folder.name) != os.getpid():
            members.append(int(folder.name))
    return members


def main() -> None:
    """Start a cluster as stdin's first line asks, print its address or what is wrong, and hold it until stdin ends."""
    given = json.loads(sys.stdin.readline())
    _outlive_signals()
    try:
        print(json.dumps(_start(given)), flush=True)
        sys.stdin.read()  # the command closes it, or is gone
    finally:
        end_session(os.getsid(0))
        shutil.rmtree(given["_temp_dir"], ignore_errors=True)
        os._exit(0)  # what Ray would do on leaving is done


def _start(given: dict[str, Any]) -> dict[str, str]:
    import ray

    try:
        context: Any = ray.init(address="local", log_to_driver=False, include_dashboard=False, **given)
    except Exception as error:  # whatever it is, the command says it
        return {"error": (str(error).strip() or repr(error)).splitlines()[0]}
    finally:
        _outlive_signals()
    return {"address": context.address_info["gcs_address"], "auth_mode": os.environ.get("RAY_AUTH_MODE", "")}


def _outlive_signals() -> None:
    """Handlers that do nothing: to ignore a signal would be inherited by all that is started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


if __name__ == "__main__":
    del sys.path[0]  # this folder: no module of it is meant by its bare name
    main()
