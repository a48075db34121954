"""The seal of a checkpoint: its size, its SHA-256 and what it is, in the comment that ends every zip archive.

``torch.save`` writes a zip archive and ``torch.load`` steps over its comment, so a sealed checkpoint is one file that
stays readable everywhere, travels with its seal, and is replaced in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from anchor.errors import CheckpointError

__all__ = ["Seal", "SealingFile", "check_seal", "read_seal"]

END = b"PK\x05\x06"  # the end record of a zip archive: 22 bytes, of which the last two count the comment that follows
END_BYTES = 22
MAX_END_BYTES = END_BYTES + 2**16  # with the longest comment there can be
ARCHIVE = b"PK\x03\x04"  # how a zip archive begins
MARK = b"anchor-seal "
CHUNK_BYTES = 2**20
_checked: dict[tuple[Any, ...], Seal | None] = {}  # what this process has hashed already, by file and time


@dataclass(frozen=True)
class Seal:
    """What a checkpoint says of itself."""

    size: int  # bytes of the whole file
    sha256: str  # of all bytes before the comment and its count, and of what follows here
    step: int | None  # the trainer's ``global_step``
    run: str | None  # names the training it belongs to, through all its starts
    start: str | None = None  # names the start that wrote it, through all restarts of its ranks
    origin: tuple[str, str] | None = None  # the checkpoint that the training was begun from: its path and SHA-256


class SealingFile:
    """A file to hand to ``torch.save``: it hashes what passes through; ``seal`` then ends it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.hash = file, 0, hashlib.sha256()
        self.error: OSError | None = None  # of a write; PyTorch's writer hides it behind a RuntimeError
        self._tail = b""  # the last bytes, which the seal will change

    def write(self, data: Any) -> int:
        """Write ``data``, bytes or a view of them, on to the file."""
        view = memoryview(data).cast("B")
        try:
            self.file.write(view)
        except OSError as error:
            self.error = error
            raise
        self.size += len(view)
        if len(view) >= END_BYTES:
            self.hash.update(self._tail)
            self.hash.update(view[:-END_BYTES])
            self._tail = bytes(view[-END_BYTES:])
        else:
            both = self._tail + bytes(view)
            self.hash.update(both[:-END_BYTES])
            self._tail = both[-END_BYTES:]
        return len(view)

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self.file.flush()

    def seal(
        self,
        step: int | None,
        run: str | None = None,
        start: str | None = None,
        origin: tuple[str, str] | None = None,
    ) -> Seal:
        """End the archive with its seal; nothing may be written after it."""
        assert self._tail.startswith(END), "torch.save ended with something else than a zip archive without comment"
        about: dict[str, Any] = {"step": step, "run": run, "start": start, "origin": origin}
        self.hash.update(self._tail[:-2] + json.dumps(about).encode())
        about["sha256"] = self.hash.hexdigest()
        comment = MARK + json.dumps(about).encode()
        self.file.seek(self.size - 2)
        self.file.write(struct.pack("<H", len(comment)) + comment)
        self.size += len(comment)
        return Seal(size=self.size, **about)


def read_seal(path: str | Path) -> Seal | None:
    """The seal of the file at ``path``, unchecked; None where it never had one.

    Raises:
        CheckpointError: it is no file, empty or cut off: an archive without an end.
        OSError: it cannot be read.
    """
    return _read(Path(path))[0]


def check_seal(path: str | Path) -> Seal | None:
    """Read every byte at ``path`` and compare with its seal, which is returned; None where it never had one.

    Raises:
        CheckpointError: its bytes are not those that were written.
        OSError: it cannot be read.
    """
    path = Path(path)
    state = path.stat()
    key = (str(path.absolute()), state.st_ino, state.st_size, state.st_mtime_ns)
    if key in _checked:
        return _checked[key]
    seal, left, about = _read(path)
    if seal is not None:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                digest.update(chunk)
                left -= len(chunk)
        digest.update(about)
        if digest.hexdigest() != seal.sha256:
            raise CheckpointError(f"{path}: the checkpoint is damaged: its bytes are not those that were written.")
    _checked[key] = seal
    return seal


def _read(path: Path) -> tuple[Seal | None, int, bytes]:
    """The seal of ``path``, and what its hash is of: so many bytes from the start, and then these."""
    size, comment = _read_end(path)
    if not comment.startswith(MARK):
        return None, 0, b""
    try:
        about = json.loads(comment[len(MARK) :])
        sha256, origin = about.pop("sha256"), about.get("origin")
        seal = Seal(size, sha256, about["step"], about["run"], about.get("start"), origin and (origin[0], origin[1]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: the seal of the checkpoint is damaged.") from None
    return seal, size - len(comment) - 2, json.dumps(about).encode()


def _read_end(path: Path) -> tuple[int, bytes]:
    """The size of a file and its archive's comment, which is empty where there is none, or no archive."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(f"{path}: no file, but a folder, a pipe or a device.")  # a pipe would be waited for
    with path.open("rb") as file:
        start = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_END_BYTES))
        tail = file.read()
    if not size:
        raise CheckpointError(f"{path}: the checkpoint is empty.")
    place = tail.rfind(END)
    comment = tail[place + END_BYTES :] if place >= 0 else b""
    if place >= 0 and tail[place + END_BYTES - 2 : place + END_BYTES] == struct.pack("<H", len(comment)):
        return size, comment
    if start == ARCHIVE or MARK in tail:
        raise CheckpointError(f"{path}: the checkpoint is cut off after {size} bytes, or its end is damaged.")
    return size, b""
