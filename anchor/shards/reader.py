"""Read a set of shards by index and ``pread``: any frame of any clip, every byte checked."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anchor.batch import ClipEntry
from anchor.errors import DamagedError, ShardError
from anchor.shards.claims import max_samples
from anchor.shards.files import ShardFiles
from anchor.shards.folder import open_folder, read_fetched
from anchor.shards.index import ShardIndex
from anchor.shards.jpegs import FrameTable, decode_into, read_table, runs
from anchor.shards.manifest import RESTORE, read_manifest
from anchor.shards.members import (
    AUDIO,
    FRAMES,
    FRAMES_CRC,
    FRAMES_INDEX,
    MEL,
    META,
    VIDEO,
    decode_flac,
    decode_meta,
    decode_npy,
    index_name,
)
from anchor.shards.opening import find_problems, join_problems
from anchor.shards.recent import Recent
from anchor.shards.version1 import index_name_1, index_version1
from anchor.shards.video import decode_video
from anchor.timing import NUM_MELS

if TYPE_CHECKING:
    from anchor.shards.cache import CacheSettings

__all__ = ["ShardSet"]

TABLES_MB, VIDEOS_MB = 8, 64  # checked frame tables (2 kB a clip) and videos kept per process
MAX_SMALL_MEMBER = 2**29  # bytes; the mel of nine hours has less


class IndexFileError(ShardError):
    """An index that is missing or is not what was written."""


class ShardSet:
    """A ``ClipSource`` over a folder or an address that ``ShardSetWriter`` filled.

    The constructor finds files that are missing, too many, exchanged, of the wrong size or changed; every later read
    checks its bytes. Threads may share one object, a forked process may go on with it, and it can be pickled.

    Args:
        path: a folder, or an address such as ``s3://bucket/set``.
        cache: where shards of an address are kept; None is the default place.
        any_mel: take a set whose speech was analysed with other parameters; only tools do.
        any_version: take an older format; only `anchor shards merge` does.
        check: False leaves out the look at every file, for tools that report damage themselves.

    Raises:
        ShardError: the set cannot be used, or not as it is: each wrong file is named, up to three.
    """

    def __init__(
        self,
        path: Path | str,
        cache: CacheSettings | None = None,
        *,
        any_mel: bool = False,
        any_version: bool = False,
        check: bool = True,
    ) -> None:
        self.folder = open_folder(path, cache)
        self.url = self.folder.url.rstrip("/")
        self.manifest, self.clips = read_manifest(self.folder, any_mel, any_version)
        self.codec: str = self.manifest["codec"]
        self.image_size: int = self.manifest["image_size"]
        shards = self.manifest["shards"]
        self._first_clips = np.cumsum([0, *(shard["clips"] for shard in shards)])
        if check and self.manifest["format_version"] > 1:
            problems = find_problems(self.folder, shards)
            if problems:
                raise ShardError(join_problems(self.url, problems))
        self.files = ShardFiles(self.folder, shards)
        self._indexes: dict[int, ShardIndex] = {}
        self._tables: Recent[FrameTable] = Recent(TABLES_MB)
        self._videos: Recent[bytes] = Recent(VIDEOS_MB)

    @property
    def identity(self) -> str:
        """A SHA-256, in hex, of what a loader sees: the same for copies of a set, another after any change."""
        parts = [self.codec, str(self.image_size), self.clips.digest()]
        parts += [shard["sha256"] for shard in self.manifest["shards"]]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        """uint8 RGB crops (N, size, size, 3) of the numbered frames; only these are decoded."""
        number, numbers = self._number(clip), list(frames)
        for frame in numbers:
            if not 0 <= frame < clip.num_frames:
                raise ShardError(
                    f"{self._shard_url(number)}: clip {clip.key!r}: frame {frame} was asked for, the clip has "
                    f"{clip.num_frames}. Number frames from 0."
                )
        if self.codec == "h264":
            return self._read_video(number, numbers)
        table = self._table(number)
        pictures = np.empty((len(numbers), self.image_size, self.image_size, 3), np.uint8)
        for run in runs(numbers):
            self._read_run(number, table, numbers, run, pictures)
        return pictures

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        """float32 log-mel of the whole clip (steps, 80)."""
        mel = self._decoded(self._number(clip), MEL, lambda data: decode_npy(data, np.float16, 2))
        if mel.shape[1] != NUM_MELS:
            raise self.damaged(self._number(clip), MEL, f"it has {mel.shape[1]} bins, not {NUM_MELS}")
        return mel.astype(np.float32)

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        """float32 mono waveform at 16 kHz in [-1, 1]."""
        return self._decoded(self._number(clip), AUDIO, lambda data: decode_flac(data, max_samples(clip.num_frames)))

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        """The clip's description, as `anchor preprocess` wrote it."""
        return self._decoded(self._number(clip), META, decode_meta)

    def read_members(self, number: int) -> dict[str, bytes]:
        """All members of a clip as they were written, each checked."""
        names = self._index_and_row(number)[0].names
        return {name: bytes(self.read_member(number, name)) for name in names}

    def read_member(self, number: int, name: str) -> memoryview:
        """One member of a clip, checked with the tar header before it."""
        index, row = self._index_and_row(number)
        gap, begin, end = index.place(row, name)
        if name not in (FRAMES, VIDEO) and end - begin > MAX_SMALL_MEMBER:
            raise self.damaged(number, name, f"it claims {end - begin} bytes, more than any such member has")

        def check(data: memoryview) -> str | None:
            return index.check(row, name, data[: begin - gap], data[begin - gap :])

        return self._read(number, name, gap, end, check)[begin - gap :]

    def verify(self) -> Iterator[ShardError]:
        """Read everything; yield all that is wrong: files first, then a ``DamagedError`` for each bad member."""
        from anchor.shards.verify import find_damage

        for damage in find_damage(self):
            yield damage.error(self.url)

    def index(self, shard: int) -> ShardIndex:
        """The index of a shard, read when first needed and checked against the manifest.

        Raises:
            IndexFileError: it is not what was written, or claims what cannot be.
        """
        index = self._indexes.get(shard)
        if index is None:
            entry = self.manifest["shards"][shard]
            keys = self.clips.keys(int(self._first_clips[shard]), int(self._first_clips[shard + 1]))
            is_old = self.manifest["format_version"] == 1
            name = index_name_1(entry["name"]) if is_old else index_name(entry["name"])
            try:
                if is_old:
                    index = index_version1(self.folder.read(name), entry, keys)
                else:
                    data = read_fetched(self.folder, name, entry["index_bytes"], entry["index_sha256"])
                    index = ShardIndex.from_bytes(data, entry, self.codec, keys)
            except ShardError:  # the place does not answer
                raise
            except OSError as error:
                raise IndexFileError(f"{self.url}/{name} cannot be read ({error}). {RESTORE}") from error
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise IndexFileError(f"{self.url}/{name} {error}. {RESTORE}") from error
            self._indexes[shard] = index
        return index

    def damaged(self, number: int, name: str, what: str) -> DamagedError:
        """The error that says which member of which clip in which shard is damaged, and how."""
        shard, key = self._shard_url(number), self.clips.key(number)
        message = f"{shard}: clip {key!r}, {name} is damaged: {what}. {RESTORE}"
        return DamagedError(message, shard=shard, key=key, member=name, what=what)

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        self.files.close()

    def clip_range(self, shard: int) -> range:
        """The numbers of the clips in a shard."""
        return range(int(self._first_clips[shard]), int(self._first_clips[shard + 1]))

    def _read_run(
        self, number: int, table: FrameTable, numbers: list[int], run: list[int], pictures: np.ndarray
    ) -> None:
        """Read neighbouring frames at once; ``run`` holds their places in ``numbers`` and ``pictures``."""
        first, last = numbers[run[0]], numbers[run[-1]]
        offsets, crcs = table.offsets[first : last + 2].tolist(), table.crcs[first : last + 1]
        index, row = self._index_and_row(number)
        begin = index.place(row, FRAMES)[1]

        def check(data: memoryview) -> str | None:
            for i, crc in enumerate(crcs.tolist()):
                if zlib.crc32(data[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]) != crc:
                    return f"the bytes of frame {first + i} do not match their checksum"
            return None

        data = self._read(number, FRAMES, begin + offsets[0], begin + offsets[-1], check)
        for place in run:
            i = numbers[place] - first
            try:
                decode_into(data[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]], pictures[place])
            except ValueError as error:
                raise self.damaged(number, FRAMES, f"frame {first + i}: {error}") from error

    def _read_video(self, number: int, numbers: list[int]) -> np.ndarray:
        data = self._videos.get(number)
        if data is None:
            data = bytes(self.read_member(number, VIDEO))
            self._videos.put(number, data, len(data))
        num_frames = int(self.clips.num_frames[number])
        pictures = np.empty((len(numbers), self.image_size, self.image_size, 3), np.uint8)
        try:
            decode_video(data, numbers, num_frames, pictures)
        except ValueError as error:
            raise self.damaged(number, VIDEO, str(error)) from error
        return pictures

    def _table(self, number: int) -> FrameTable:
        """Where the frames of a clip lie; read once, with the tar header of the frames."""
        table = self._tables.get(number)
        if table is None:
            index, row = self._index_and_row(number)
            gap, begin, end = index.place(row, FRAMES)
            self._read(number, FRAMES, gap, begin, lambda data: index.check(row, FRAMES, data, None))
            members = self.read_member(number, FRAMES_INDEX), self.read_member(number, FRAMES_CRC)
            try:
                table = read_table(*members, int(self.clips.num_frames[number]), end - begin)
            except ValueError as error:
                raise self.damaged(number, FRAMES_INDEX, str(error)) from error
            self._tables.put(number, table, table.offsets.nbytes + table.crcs.nbytes)
        return table

    def _decoded(self, number: int, name: str, decode: Callable[[memoryview], Any]) -> Any:
        data = self.read_member(number, name)
        try:
            return decode(data)
        except ValueError as error:
            raise self.damaged(number, name, str(error)) from error

    def _read(
        self, number: int, name: str, begin: int, end: int, check: Callable[[memoryview], str | None]
    ) -> memoryview:
        """The bytes ``[begin, end)`` of a clip's shard, once ``check`` finds nothing wrong with them."""
        shard = int(self.clips.shard_numbers[number])
        for is_second in (False, True):
            try:
                data = memoryview(self.files.read(shard, begin, end - begin))
            except OSError as error:
                what: str | None = f"it cannot be read ({error})"
            else:
                what = check(data) if len(data) == end - begin else f"the file ends after {len(data)} of {end - begin}"
            if what is None:
                return data
            if is_second or not self.files.discard(shard):
                break
        assert what is not None
        raise self.damaged(number, name, what)

    def _number(self, clip: ClipEntry) -> int:
        number = clip.location
        if not isinstance(number, int) or not 0 <= number < len(self.clips) or self.clips.key(number) != clip.key:
            raise ShardError(f"{self.url}: clip {clip.key!r} is not of this set. Take clips from its own list.")
        return number

    def _index_and_row(self, number: int) -> tuple[ShardIndex, int]:
        shard = int(self.clips.shard_numbers[number])
        try:
            return self._indexes.get(shard) or self.index(shard), number - int(self._first_clips[shard])
        except IndexFileError as error:
            raise self.damaged(number, "index", str(error)) from error

    def _shard_url(self, number: int) -> str:
        return f"{self.url}/{self.manifest['shards'][int(self.clips.shard_numbers[number])]['name']}"
