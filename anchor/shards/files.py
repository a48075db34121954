"""The shards of a set, opened when first read; only so many at once, so that handles do not run out."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from anchor.shards.folder import Folder, open_fetched, pread

__all__ = ["ShardFiles"]

MAX_OPEN = 64  # per process; a loader process beside others shares the limit of 1024 that is usual


class ShardFiles:
    """Read ranges of numbered shards. Threads may share it; after a fork and in a pickle it opens files anew."""

    def __init__(self, folder: Folder, shards: Sequence[dict[str, Any]], max_open: int = MAX_OPEN) -> None:
        self.folder, self.shards, self.max_open = folder, shards, max_open
        self._forget()

    def read(self, shard: int, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer where the file ends earlier.

        Raises:
            OSError: the file cannot be read.
            ShardError: it cannot be fetched.
        """
        file = self._open(shard)  # held until the bytes are here: it closes when nobody refers to it
        return pread(file.number, start, max(0, min(length, file.size - start)))

    def discard(self, shard: int) -> bool:
        """Throw away a damaged copy; False where the file is no copy, so that reading again would not help."""
        entry = self.shards[shard]
        self._files.pop(shard, None)
        return self.folder.discard(entry["name"], entry["sha256"])

    def close(self) -> None:
        """Close all; the next read opens them again."""
        self._forget()

    def _open(self, shard: int) -> _OpenFile:
        if self._process != os.getpid():
            self._forget()  # the lock may have been held by a thread that is not here
        with self._lock:
            file = self._files.get(shard)
            if file is not None:
                self._files.move_to_end(shard)
                return file
        entry = self.shards[shard]
        file = _OpenFile(open_fetched(self.folder, entry["name"], entry["bytes"], entry["sha256"]))
        with self._lock:
            file = self._files.setdefault(shard, file)
            while len(self._files) > self.max_open:
                self._files.popitem(last=False)
        return file

    def _forget(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "shards": self.shards, "max_open": self.max_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


class _OpenFile:
    """A file that closes when nobody refers to it any more: a thread may still read what another has evicted."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.size = os.fstat(number).st_size  # bytes; no memory is taken for what is not there

    def __del__(self) -> None:
        os.close(self.number)
