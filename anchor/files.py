"""Files that are whole or not there, and what can be read of those that were cut off."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

__all__ = ["append_whole", "printable", "put_folder", "read_json", "read_records", "write_json", "write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is the old file or the new one, whenever the process or the machine ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{socket.gethostname()}-{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def append_whole(path: Path, text: str) -> None:
    """Append all of ``text`` to ``path``, or nothing: a full disk leaves no half of a line to go on in.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    data = text.encode()
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise


def put_folder(partial: Path, place: Path) -> None:
    """The folder ``partial`` under the name ``place``, in one step; what stood there before goes last.

    Raises:
        OSError: it cannot be renamed; what stood there stands there still.
    """
    aside = place.parent / f".{place.name}.before-{os.getpid()}"
    if place.exists():
        place.rename(aside)
    try:
        partial.rename(place)
    except OSError:
        if aside.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def printable(text: str, kept: str = "") -> str:
    """``text`` for a terminal, which obeys control characters, and for files, which take UTF-8 alone.

    Names of files and of members may hold anything: what is neither printable nor ``kept`` is written as Python would.
    """
    return "".join(one if one.isprintable() or one in kept else repr(one)[1:-1] for one in text)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as :func:`write_whole` does."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; None where there is no such file, or something else in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_records(path: Path) -> list[dict[str, Any]]:
    """The JSON objects with a whole number as ``step`` in ``path``, one a line.

    Other lines are left out: a full disk or a loss of power cuts the last one off.

    Raises:
        OSError: it cannot be read.
    """
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
    return records
