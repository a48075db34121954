"""Where the files of a set lie: a folder of this machine, or an address that ``anchor.shards.remote`` reads."""

from __future__ import annotations

import os
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anchor.errors import ShardError

if TYPE_CHECKING:
    from anchor.shards.cache import CacheSettings

__all__ = ["MAX_SMALL_FILE", "Folder", "LocalFolder", "open_fetched", "open_folder", "pread", "read_fetched"]

MAX_FETCHES = 10  # of one file, where it is gone again before it is opened
MAX_SMALL_FILE = 2**30  # bytes; the manifest of ten million clips has less


class Folder(Protocol):
    """The files of one set. Implementations can be pickled, used by several threads, and used on after a fork.

    What does not exist raises ``FileNotFoundError``; what cannot be read for another reason raises ``ShardError`` with
    the whole sentence for the user, after the retries that the place deserves. A name is a plain file name without
    any folder.
    """

    url: str  # how messages call it: a path or an address without secrets

    def read(self, name: str, limit: int = MAX_SMALL_FILE) -> bytes:
        """A whole small file; a file of more than ``limit`` bytes is refused with ``ShardError`` before it is read."""
        ...

    def sizes(self, names: Sequence[str]) -> dict[str, int | None]:
        """Bytes of each named file; None where it is missing."""
        ...

    def names(self) -> list[str] | None:
        """Every file here; None where the place cannot list (plain http)."""
        ...

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer only where the file ends earlier."""
        ...

    def fetch(self, name: str, size: int, sha256: str) -> Path:
        """A path on this machine that holds the whole file. A copy that was made is of this size and SHA-256.

        Readers may find a copy gone or damaged later: they ``discard`` it and ask once more.
        """
        ...

    def discard(self, name: str, sha256: str) -> bool:
        """Throw away the copy that ``fetch`` made; False where it made none, so that asking again would not help."""
        ...


class LocalFolder:
    """A folder of this machine, or one that it mounts."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.url = str(self.path)

    def read(self, name: str, limit: int = MAX_SMALL_FILE) -> bytes:
        """A whole small file."""
        try:
            with (self.path / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read(min(size, limit) + 1)  # asking for the limit would take that memory
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ShardError(f"{self.path / name} cannot be read ({error.strerror or error}).") from error
        if len(data) > limit:
            raise ShardError(f"{self.path / name} has more than {limit} bytes, which no such file has.")
        return data

    def sizes(self, names: Sequence[str]) -> dict[str, int | None]:
        """Bytes of each named file; None where it is missing."""
        return {name: self._size(name) for name in names}

    def names(self) -> list[str] | None:
        """Every file here."""
        try:
            return sorted(entry.name for entry in os.scandir(self.path))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ShardError(f"{self.path} cannot be listed ({error.strerror or error}).") from error

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer only where the file ends earlier."""
        try:
            with (self.path / name).open("rb") as file:
                return pread(file.fileno(), start, length)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ShardError(f"{self.path / name} cannot be read ({error.strerror or error}).") from error

    def fetch(self, name: str, size: int, sha256: str) -> Path:
        """The file itself: nothing is copied, and readers check what they read."""
        return self.path / name

    def discard(self, name: str, sha256: str) -> bool:
        """Nothing is copied, so nothing is thrown away."""
        return False

    def _size(self, name: str) -> int | None:
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShardError(f"{self.path / name} cannot be looked at ({error.strerror or error}).") from error


def open_folder(path: Path | str, cache: CacheSettings | None = None) -> Folder:
    """The folder at a path, or at an address such as ``s3://bucket/set``; ``cache`` is where fetched shards lie."""
    text = str(path)
    if text.startswith("file://"):
        return LocalFolder(urllib.request.url2pathname(urllib.parse.urlsplit(text).path))
    if "://" in text or text.startswith("pipe:"):  # which the other side refuses by name
        from anchor.shards.remote import RemoteFolder

        return RemoteFolder(str(path), cache)
    return LocalFolder(path)


def open_fetched(folder: Folder, name: str, size: int, sha256: str) -> int:
    """Fetch a file and open it for reading; returns its number, which the caller closes.

    A cache that other processes use may drop a copy before it is opened: then it is fetched again, a few times.

    Raises:
        OSError: it cannot be opened.
        ShardError: it cannot be fetched.
    """
    for attempt in range(MAX_FETCHES):
        try:
            return os.open(folder.fetch(name, size, sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if attempt == MAX_FETCHES - 1 or isinstance(folder, LocalFolder):
                raise
    raise AssertionError


def read_fetched(folder: Folder, name: str, size: int, sha256: str) -> bytes:
    """The first ``size`` bytes of a file that is fetched; raises like ``open_fetched``."""
    file = open_fetched(folder, name, size, sha256)
    try:
        return pread(file, 0, min(size, os.fstat(file).st_size))
    finally:
        os.close(file)


def pread(file: int, start: int, length: int) -> bytes:
    """``length`` bytes of an open file from ``start``, the position untouched; fewer only at its end."""
    data = os.pread(file, length, start)
    while 0 < len(data) < length:  # a read may stop early
        more = os.pread(file, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data
