"""The clips of a set as columns: a ``ClipEntry`` is made when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from anchor.batch import ClipEntry

__all__ = ["ClipTable"]


class ClipTable(Sequence[ClipEntry]):
    """Every clip of a set, in the order of the shards; about 40 bytes each.

    ``speakers`` and ``splits`` are names, ``speaker_numbers`` and ``split_numbers`` say which of them, clip by clip.
    The ``location`` of an entry is its number here.
    """

    def __init__(
        self,
        keys: Sequence[str],
        speakers: Sequence[str],
        speaker_numbers: np.ndarray,
        splits: Sequence[str],
        split_numbers: np.ndarray,
        num_frames: np.ndarray,
        shard_numbers: np.ndarray,
    ) -> None:
        self.speakers, self.splits = tuple(speakers), tuple(splits)
        self.speaker_numbers, self.split_numbers = speaker_numbers, split_numbers
        self.num_frames, self.shard_numbers = num_frames, shard_numbers  # frames at 25 fps; which shard
        self._keys = "\n".join(keys).encode()
        lengths = np.fromiter((len(key.encode()) + 1 for key in keys), np.int64, len(keys))
        self._key_ends = np.cumsum(lengths) - 1

    def __len__(self) -> int:
        return len(self.num_frames)

    @overload
    def __getitem__(self, number: int) -> ClipEntry: ...
    @overload
    def __getitem__(self, number: slice) -> list[ClipEntry]: ...
    def __getitem__(self, number: int | slice) -> ClipEntry | list[ClipEntry]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        speaker, split = int(self.speaker_numbers[number]), int(self.split_numbers[number])
        frames = int(self.num_frames[number])
        return ClipEntry(self.key(number), self.speakers[speaker], self.splits[split], frames, location=number)

    def __iter__(self) -> Iterator[ClipEntry]:
        columns = (self.speaker_numbers.tolist(), self.split_numbers.tolist(), self.num_frames.tolist())
        for number, (key, speaker, split, frames) in enumerate(zip(self.keys(), *columns, strict=True)):
            yield ClipEntry(key, self.speakers[speaker], self.splits[split], frames, location=number)

    def key(self, number: int) -> str:
        """The key of one clip."""
        begin = int(self._key_ends[number - 1]) + 1 if number else 0
        return self._keys[begin : int(self._key_ends[number])].decode()

    def keys(self, begin: int = 0, end: int | None = None) -> list[str]:
        """The keys of the clips from ``begin`` to before ``end``."""
        end = len(self) if end is None else end
        if begin >= end:
            return []
        first = int(self._key_ends[begin - 1]) + 1 if begin else 0
        return self._keys[first : int(self._key_ends[end - 1])].decode().split("\n")

    def find(self, key: str) -> int | None:
        """The number of the clip with this key."""
        try:
            return self.keys().index(key)
        except ValueError:
            return None

    def columns(self) -> dict[str, Any]:
        """What the manifest says of the clips."""
        numbers = (self.speaker_numbers, self.split_numbers, self.num_frames, self.shard_numbers)
        names = ("speakers", "splits", "num_frames", "shards")
        return {"keys": self.keys(), **{name: column.tolist() for name, column in zip(names, numbers, strict=True)}}

    def digest(self) -> str:
        """A SHA-256 of all columns and names, in hex."""
        digest = hashlib.sha256("\n".join([*self.speakers, "", *self.splits, ""]).encode() + self._keys)
        for column in (self.speaker_numbers, self.split_numbers, self.num_frames, self.shard_numbers):
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()
