"""Copies of remote shards on this machine: named by their SHA-256, whole or not there, safe for many processes.

A copy is downloaded into a partial file of its own beside its place, checked while it arrives, written through to the
disk and then renamed. One process downloads, others that want the same shard wait; where the file system knows no
locks they all download, and each result is right. What was checked is sealed: its modification time is set to a number
that follows from its SHA-256, so a file that came in another way, or was written to since, is known and is checked
before it is used. The access time says when a copy was last asked for; the longest unused are removed for new ones.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anchor.errors import ConfigError, ShardError
from anchor.shards.locks import LockState, hold, is_at, open_to_lock, try_lock, unlock

__all__ = ["CacheSettings", "ShardCache"]

DEFAULT_GB = 100.0
SHARERS = 64  # processes that may fill the cache at once, as a guess: how soon each looks again at what is used
EVICTION_WAIT_S = 10.0  # for another process that makes room; it takes milliseconds
NEW_PARTIALS = 10  # tries to make a partial file before another process sweeps it
AHEAD_S = 24 * 3600.0  # by which the clock of another machine may differ
ABANDONED_S = 24 * 3600.0  # without a byte: a partial whose owner cannot be asked, where there are no locks

_COPY = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(r"\.[0-9a-f]{64}\.([0-9a-f]{16}\.partial|lock)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class CacheSettings:
    """Where fetched shards lie on this machine, and how much room they may take."""

    folder: Path | str | None = None  # None: $ANCHOR_CACHE, else ~/.cache/anchor/shards
    max_bytes: int | None = None  # None: $ANCHOR_CACHE_GB (of 10^9 bytes), else DEFAULT_GB

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.folder or os.environ.get("ANCHOR_CACHE") or "~/.cache/anchor/shards").expanduser()

    @property
    def limit(self) -> int:
        """Bytes.

        Raises:
            ConfigError: $ANCHOR_CACHE_GB is no number above zero.
        """
        if self.max_bytes is not None:
            return self.max_bytes
        text = os.environ.get("ANCHOR_CACHE_GB") or str(DEFAULT_GB)
        try:
            limit = int(float(text) * 1e9)
        except (ValueError, OverflowError):
            limit = 0
        if limit <= 0:
            raise ConfigError(f"ANCHOR_CACHE_GB={text} is no number of gigabytes above zero.")
        return limit


class ShardCache:
    """The copies in one folder. Any number of threads and processes may use it, also with different limits."""

    def __init__(self, settings: CacheSettings) -> None:
        self.folder = settings.place
        self.max_bytes = settings.limit
        self._allowance = 0  # bytes that may be added before the folder is looked through again
        self._checked: dict[str, tuple[int, int, int]] = {}  # what this process has checked and could not seal

    def get(self, sha256: str, size: int, download: Callable[[IO[bytes]], None], *, where: str, wait_s: float) -> Path:
        """The path of the copy with this SHA-256 and ``size`` (bytes); where there is none, ``download`` brings it.

        ``download`` writes the checked bytes from the start of the file it is given. Another process' download of the
        same is waited for, but no longer than ``wait_s``. ``where`` is what messages call the shard. The path may be
        evicted at any time: open it at once, and ask again if it is gone. An open file stays readable.
        """
        assert _COPY.fullmatch(sha256), sha256
        path = self.folder / sha256
        if self._is_whole(path, size, sha256):
            return path
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with hold(self.folder / f".{sha256}.lock", wait_s):
                if not self._is_whole(path, size, sha256) and not self._is_right(path, size, sha256):
                    self._fill(path, size, sha256, download, where)
        except ShardError:
            raise
        except OSError as error:
            # A folder that somebody else fills and that may only be read is as good as any, while it has the shard.
            if error.errno not in _CLOSED or not self._is_right(path, size, sha256):
                raise self._trouble(error, where, size) from error
        return path

    def discard(self, sha256: str) -> bool:
        """Throw the copy away unless its bytes are those of ``sha256``: all of it is read. False where it stays."""
        path = self.folder / sha256
        try:
            before = path.stat()
            if _sha256(path) == sha256:
                return False
            if os.path.samestat(path.stat(), before):  # else somebody has just brought another
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ShardError(
                f"{path} is damaged and cannot be removed ({error.strerror or error}). Remove it by hand."
            ) from error
        return True

    def _is_whole(self, path: Path, size: int, sha256: str) -> bool:
        """Whether a copy that was checked lies at ``path``, untouched since; notes that it was asked for."""
        try:
            status = path.stat()
        except OSError:
            return False
        is_sealed = int(status.st_mtime) == _seal_s(sha256)
        if status.st_size != size or not (is_sealed or self._checked.get(sha256) == _state(status)):
            return False
        with contextlib.suppress(OSError):  # another user's, or a read-only folder: then its turn comes by other means
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        return True

    def _is_right(self, path: Path, size: int, sha256: str) -> bool:
        """Whether the file at ``path``, which has no seal, is the right one after all; it gets its seal if it can."""
        try:
            if path.stat().st_size != size or _sha256(path) != sha256:
                return False
            self._seal(path, sha256)
        except OSError:
            return False
        return True

    def _seal(self, path: Path, sha256: str) -> None:
        with contextlib.suppress(OSError):  # not ours, or on a file system that keeps no such times
            os.utime(path, (time.time(), _seal_s(sha256)))
        self._checked[sha256] = _state(path.stat())

    def _fill(self, path: Path, size: int, sha256: str, download: Callable[[IO[bytes]], None], where: str) -> None:
        if size > self.max_bytes:
            raise ShardError(
                f"{where} has {size} bytes, and the cache {self.folder} may hold {self.max_bytes}. "
                "Allow it more with ANCHOR_CACHE_GB or datamodule.cache_gb; all shards of a set should fit."
            )
        with self._partial(path, size) as (partial, file):
            if size > self._allowance:
                self._make_room(self.max_bytes)
            else:
                self._allowance -= size
            try:
                download(file)
            except OSError as error:  # of this disk: what the network does is never an OSError here
                if error.errno not in _FULL or not self._make_room(max(0, self._used() - size)):
                    raise
                download(file)
            if file.tell() != size:
                raise ShardError(f"{where}: {file.tell()} bytes were written to {self.folder}, not {size}. Try again.")
            os.fsync(file.fileno())
            self._seal(partial, sha256)
            os.replace(partial, path)
        with contextlib.suppress(OSError):  # the name, too, survives a power cut where folders can be synced
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def _partial(self, path: Path, size: int) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new file beside ``path``, locked for as long as its owner lives; it counts with its full size at once."""
        for tries in range(NEW_PARTIALS):
            partial = self.folder / f".{path.name}.{os.urandom(8).hex()}.partial"
            with partial.open("x+b", buffering=0) as file:
                try:
                    state = try_lock(file.fileno())
                    is_ours = state is LockState.UNKNOWN or (state is LockState.HELD and is_at(partial, file.fileno()))
                    if not is_ours and tries < NEW_PARTIALS - 1:
                        continue  # another process took it for a leftover before it was locked
                    file.truncate(size)
                    yield partial, file
                    return
                finally:
                    partial.unlink(missing_ok=True)
                    unlock(file.fileno())

    def _make_room(self, max_bytes: int) -> int:
        """Sweep what dead processes left, remove the longest unused copies beyond ``max_bytes``; how many went."""
        removed = 0
        with hold(self.folder / ".eviction.lock", EVICTION_WAIT_S):
            for leftover in self._entries(_LEFTOVER):
                _sweep(Path(leftover.path))
            copies = [(entry.stat(), Path(entry.path)) for entry in self._entries(_COPY)]
            used, now = self._used(), time.time()
            for status, copy in sorted(copies, key=lambda pair: _last_used(pair[0], now)):
                if used <= max_bytes:
                    break
                with contextlib.suppress(FileNotFoundError):
                    copy.unlink()
                    removed += 1
                used -= status.st_size
        self._allowance = max(0, self.max_bytes - used) // SHARERS
        return removed

    def _used(self) -> int:
        """Bytes of the copies, and of what is on its way to become one."""
        return sum(entry.stat().st_size for kind in (_COPY, _LEFTOVER) for entry in self._entries(kind))

    def _entries(self, kind: re.Pattern[str]) -> list[os.DirEntry[str]]:
        """Our files of a kind that are still there; whatever else lies in the folder is not looked at."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if kind.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) and entry.stat():
                        found.append(entry)
        return found

    def _trouble(self, error: OSError, where: str, size: int) -> ShardError:
        what = "is full" if error.errno in _FULL else f"cannot be written ({error.strerror or error})"
        return ShardError(
            f"{where}: the cache {self.folder} {what}; {size} bytes are needed. "
            "Make room there, or name another folder with ANCHOR_CACHE=DIR."
        )


def _seal_s(sha256: str) -> int:
    """The modification time of a copy that was checked: even seconds, which every file system can keep."""
    return 1_000_000_000 + 2 * int(sha256[:7], 16)  # 2001 to 2018


def _last_used(status: os.stat_result, now: float) -> float:
    """When a copy was last asked for; never, where a clock was ahead: that must not protect it for years."""
    return status.st_atime if status.st_atime < now + AHEAD_S else 0.0


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sweep(path: Path) -> None:
    """Remove a partial or a lock whose process is dead: nobody holds it."""
    try:
        file = open_to_lock(path)
    except OSError:
        return
    try:
        state = try_lock(file)
        is_dead = state is LockState.HELD
        if state is LockState.UNKNOWN:
            is_dead = time.time() - os.fstat(file).st_mtime > ABANDONED_S
        if is_dead and is_at(path, file):
            with contextlib.suppress(OSError):
                path.unlink()
        unlock(file)
    finally:
        os.close(file)
