"""Processes for what FFmpeg does with networks and whole files.

PyAV holds Python's lock while FFmpeg connects and while it completes a file. In the server's own process that would
stop every clock; a process of its own can wait, and can be ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import anchor

__all__ = ["start_child", "stop_child"]


async def start_child(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """``python -m anchor.serving.MODULE ARGUMENTS``, to be written to and read from, out of a terminal's Ctrl-C."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"anchor.serving.{module}", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(anchor.__file__).parent.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


async def stop_child(child: asyncio.subprocess.Process, patience_s: float) -> None:
    """Let it finish with what it was given, at most ``patience_s``; then it is ended."""
    assert child.stdin is not None
    with contextlib.suppress(OSError):
        child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), patience_s)
    except asyncio.TimeoutError:
        pass
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
