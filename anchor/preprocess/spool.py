"""Crops on disk until it is known which of them are wanted: memory stays the same however long the clip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from anchor.errors import ShardError

__all__ = ["CropSpool", "WriteError", "write_members", "writing"]


class WriteError(ShardError):
    """What was to be written cannot be: this is the disk's fault, and no clip's."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says while ``path`` is written becomes one sentence.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({error.strerror or error}).") from error


class CropSpool:
    """The JPEGs of one face by frame number, in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[int, tuple[int, int]] = {}
        self._size = 0
        with writing(path):
            self._file: BinaryIO = path.open("w+b")

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def add(self, number: int, jpeg: bytes) -> None:
        """Keep the crop of frame ``number``."""
        with writing(self._path):
            self._file.write(jpeg)
        self._places[number] = (self._size, len(jpeg))
        self._size += len(jpeg)

    def read(self, numbers: range) -> list[bytes]:
        """The JPEGs of these frames."""
        with writing(self._path):
            self._file.flush()
        jpegs = []
        for number in numbers:
            start, length = self._places[number]
            self._file.seek(start)
            jpegs.append(self._file.read(length))
        self._file.seek(0, 2)
        return jpegs

    def remove(self) -> None:
        """Delete the file."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def write_members(folder: Path, members: Mapping[str, bytes]) -> int:
    """Write the members of one segment into a new ``folder``; returns their bytes."""
    with writing(folder):
        folder.mkdir(parents=True)
        for name, data in members.items():
            (folder / name).write_bytes(data)
    return sum(map(len, members.values()))
