"""Rank processes that load their libraries while the parent still looks at the configuration: sooner at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["SPARE", "Spares", "count_spares", "start_process", "wait_for_order"]

SPARE = "--spare"  # in place of the configuration: it comes by stdin


def count_spares(accelerator: Mapping[str, Any]) -> int:
    """How many ranks the configuration's ``accelerator`` surely asks for on this node, before any card is looked at."""
    devices = str(accelerator.get("devices"))
    if accelerator.get("name") not in ("cpu", "cuda", "mlu") or not devices.isdigit():
        return 0  # what "auto" finds, and the simulated card's place, are known later
    return int(devices) if int(devices) <= (os.cpu_count() or 1) else 0  # more would only be in each other's way


def start_process(command: list[str], environment: Mapping[str, Any], stdin: int) -> subprocess.Popen[bytes]:
    """A rank's process: its output comes by pipes, and Ctrl-C and the like through us alone."""
    return subprocess.Popen(
        command,
        env={name: str(value) for name, value in environment.items()},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # loaders can be killed with their rank
    )


class Spares:
    """``count`` processes that wait to become ranks; ``environment`` is what libraries read as they load."""

    def __init__(self, count: int, environment: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", "launch.worker", SPARE]
        self._waiting = [start_process(command, {**os.environ, **environment}, subprocess.PIPE) for _ in range(count)]

    def take(self, config_path: str, environment: Mapping[str, Any]) -> subprocess.Popen[bytes] | None:
        """One that begins to work on ``config_path`` in ``environment``; None where there is none left."""
        if not self._waiting:
            return None
        process = self._waiting.pop(0)
        order = {"config": config_path, "environment": {name: str(value) for name, value in environment.items()}}
        assert process.stdin is not None
        with suppress(OSError):  # it died as it loaded; whoever waits for it will see
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.close()
        return process

    def close(self) -> None:
        """End those that were not taken."""
        for process in self._waiting:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._waiting = []


def wait_for_order() -> str:
    """As a spare: load what every run needs, then wait; returns the configuration's path, its environment set.

    Where the parent closes the pipe instead, the process ends.
    """
    from launch import build as _build  # noqa: F401

    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    order = json.loads(line)
    os.environ.update(order["environment"])
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    return order["config"]
