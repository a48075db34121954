"""How a command ends: Ctrl-C, SIGTERM, a terminal or a reader that went away, a full disk. One line, no traceback."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

__all__ = [
    "HungUpError",
    "TerminatedError",
    "catch_signals",
    "describe_fault",
    "is_output_closed",
    "silence_output",
    "tell",
]

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL_BYTES = 2**20  # a disk with less room than this is the full one


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: what tidies up after Ctrl-C tidies up after this as well."""

    number = signal.SIGTERM


class HungUpError(TerminatedError):
    """SIGHUP: the terminal or the connection has gone, and with it mostly who would read the last words."""

    number = signal.SIGHUP


RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: TerminatedError, signal.SIGHUP: HungUpError}


def catch_signals() -> None:
    """From now on the first Ctrl-C, SIGTERM or SIGHUP interrupts the command, a second one is ignored while it
    leaves.

    The third ends the process at once. A child that was forked gets the usual behaviour back.
    """
    owner, count = os.getpid(), 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal count
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        count += 1
        if count == 1:
            raise RAISED[signal.Signals(number)]
        if count > 2:
            os._exit(128 + number)

    for number in RAISED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and background jobs of a script have it
            signal.signal(number, interrupt)


def is_output_closed() -> bool:
    """Whether nobody reads stdout or stderr any more, as after ``| head``."""
    poll = getattr(select, "poll", None)
    if poll is None:
        return False
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue
        poller = poll()
        poller.register(descriptor, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poller.poll(0)):
            return True
    return False


def tell(text: str, is_trouble: bool = False) -> None:
    """Print a line, of trouble on stderr; where nobody reads, or the disk of a log is full, that is given up alone."""
    stream = sys.stderr if is_trouble else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        silence_output(stream)


def silence_output(*streams: TextIO) -> None:
    """Let what is still printed vanish, so that leaving does not fail on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams or (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (AttributeError, OSError, ValueError):
            continue


def describe_fault(error: OSError, words: Sequence[str] = ()) -> str | None:
    """The sentence for a full disk or a right that is missing; None for any other error, which is a bug.

    ``words`` are the arguments of the command: where the error names no file, its folders are looked at.
    """
    name = error.filename if error.filename is not None else ""
    name = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
    if error.errno in FULL:
        place = name or _full_folder(words)
        return f"{place}{': ' if place else ''}the disk is full ({error.strerror}). Free some space and start again."
    if error.errno in FORBIDDEN:
        what = "the disk is read-only" if error.errno == errno.EROFS else "no right to read or write it"
        return f"{name or 'a file'}: {what} ({error.strerror}). Change its rights, or give another folder."
    return None


def _full_folder(words: Sequence[str]) -> str:
    """The first folder of those that the command may write to whose disk has no room."""
    places = [Path(word.partition("=")[2] or word) for word in words]
    for place in [*places, Path.cwd(), Path(tempfile.gettempdir())]:
        folder = next((parent for parent in (place, *place.absolute().parents) if parent.is_dir()), None)
        if folder is not None and shutil.disk_usage(folder).free < FULL_BYTES:
            return str(place)
    return ""
