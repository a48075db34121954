"""The name of a start: one command on all its nodes, the same while its ranks are started again, and never again.

A run's folder serves many starts. What a checkpoint was written by is told by this name, and not by clocks, which
differ between machines.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

__all__ = ["START", "get_start", "make_start", "name_start"]

START = "ANCHOR_START"  # set for every rank by our agent


def make_start(folder: str) -> str:
    """A new name, which shows the run's ``folder``."""
    return f"{folder}-{uuid.uuid4().hex}"


def get_start() -> str | None:
    """The name of this rank's start; None where nobody starts ranks again."""
    return os.environ.get(START) or None


def name_start() -> str | None:
    """For a rank of torchrun: its agent, which lives through all restarts, told from every other process there was."""
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    if run is None:
        return None
    try:
        since = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:  # no Linux
        since = boot = ""
    return f"{run}-{socket.gethostname()}-{boot}-{os.getppid()}-{since}"
