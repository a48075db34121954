"""Read a set of shards by index and ``pread``: any frame of any clip, every byte checked."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anchor.batch import ClipEntry
from anchor.errors import ShardError
from anchor.ops.jpeg import decode_rgb
from anchor.ops.mel import mel_config_hash
from anchor.shards.members import (
    AUDIO,
    FORMAT_VERSION,
    FRAMES,
    FRAMES_CRC,
    FRAMES_INDEX,
    MANIFEST,
    MEL,
    MEMBERS,
    META,
    decode_flac,
    decode_npy,
    index_name,
)
from anchor.shards.writer import file_sha256

__all__ = ["ShardSet"]

CACHED_CLIPS = 4096  # frame indexes kept per process, 2 kB each
REBUILD = "Run `anchor preprocess` again."


class _Place(NamedTuple):
    """Where a clip lies; ``members`` maps a name to offset, size (bytes) and CRC-32."""

    shard: str
    members: dict[str, tuple[int, int, int]]


class ShardSet:
    """A ``ClipSource`` over a folder written by ``ShardSetWriter``.

    The constructor finds what is missing or of the wrong size; every later read checks its bytes. Threads may share
    one object, a forked process may go on with it, and it can be pickled: files are opened when first read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = self._read_manifest()
        self.image_size: int = self.manifest["image_size"]
        self.clips: Sequence[ClipEntry] = self._read_indexes()
        self._files: dict[str, int] = {}
        self._frame_tables: OrderedDict[str, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        """uint8 RGB crops (N, size, size, 3) of the numbered frames; only these are read and decoded."""
        offsets, crcs = self._frame_table(clip)
        place: _Place = clip.location
        begin = place.members[FRAMES][0]
        pictures = np.empty((len(frames), self.image_size, self.image_size, 3), np.uint8)
        for i, number in enumerate(frames):
            if not 0 <= number < clip.num_frames:
                raise ShardError(
                    f"{self._where(clip)}: frame {number} was asked for, the clip has {clip.num_frames}. "
                    "Number frames from 0."
                )
            start, stop = int(offsets[number]), int(offsets[number + 1])
            data = self._pread(clip, FRAMES, begin + start, stop - start)
            if zlib.crc32(data) != crcs[number]:
                raise self._damaged(clip, FRAMES, f"the bytes of frame {number} do not match their checksum")
            picture = decode_rgb(data)
            if picture.shape != pictures.shape[1:]:
                raise self._damaged(clip, FRAMES, f"frame {number} is {picture.shape}, not {pictures.shape[1:]}")
            pictures[i] = picture
        return pictures

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        """float32 log-mel of the whole clip (steps, 80)."""
        return self._array(clip, MEL).astype(np.float32)

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        """float32 mono waveform at 16 kHz in [-1, 1]."""
        return decode_flac(self._member(clip, AUDIO))

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        """The clip's description, as `anchor preprocess` wrote it."""
        meta: dict[str, Any] = json.loads(self._member(clip, META))
        return meta

    def verify(self) -> Iterator[ShardError]:
        """Read everything; yield every damage found: a shard that is not what was written, then each bad member."""
        for shard in self.manifest["shards"]:
            if file_sha256(self.path / shard["name"]) == shard["sha256"]:
                continue
            yield ShardError(f"{self.path / shard['name']} is not the file that was written. {REBUILD}")
            for clip in self.clips:
                if clip.location.shard == shard["name"]:
                    for name in MEMBERS:
                        try:
                            self._member(clip, name)
                        except ShardError as error:
                            yield error

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_frame_tables": OrderedDict()}

    def __del__(self) -> None:
        if getattr(self, "_files", None):
            self.close()

    def _read_manifest(self) -> dict[str, Any]:
        path = self.path / MANIFEST
        if not path.is_file():
            found = "the folder does not exist" if not self.path.is_dir() else "it has no manifest.json"
            raise ShardError(
                f"{self.path} is no set of shards: {found}. Make one with `anchor preprocess out={self.path}`."
            )
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version, mel_hash = manifest["format_version"], manifest["mel_config_hash"]
            missing = {"image_size", "clips", "shards", "splits"} - set(manifest)
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{path} is damaged ({error}). {REBUILD}") from error
        if version != FORMAT_VERSION:
            raise ShardError(f"{path} has format {version}, this program reads {FORMAT_VERSION}. {REBUILD}")
        if mel_hash != mel_config_hash():
            raise ShardError(
                f"{path}: its speech was analysed with mel parameters {mel_hash}, this program uses "
                f"{mel_config_hash()}. {REBUILD}"
            )
        if missing:
            raise ShardError(f"{path} is damaged: {', '.join(sorted(missing))} is missing. {REBUILD}")
        return manifest

    def _read_indexes(self) -> list[ClipEntry]:
        places: dict[str, _Place] = {}
        for shard in self.manifest["shards"]:
            path = self.path / shard["name"]
            if not path.is_file():
                raise ShardError(
                    f"{path} is missing; the manifest lists it with {shard['clips']} clips. Copy it again."
                )
            if path.stat().st_size != shard["bytes"]:
                raise ShardError(
                    f"{path} has {path.stat().st_size} bytes, the manifest says {shard['bytes']}. Copy it again."
                )
            index_path = self.path / index_name(shard["name"])
            if not index_path.is_file():
                raise ShardError(f"{index_path} is missing, the index of {shard['name']}. Copy it again.")
            data = index_path.read_bytes()
            if hashlib.sha256(data).hexdigest() != shard["index_sha256"]:
                raise ShardError(f"{index_path} is not the index that was written. Copy it again.")
            for key, members in json.loads(data)["clips"].items():
                places[key] = _Place(shard["name"], {name: tuple(place) for name, place in members.items()})
        clips = []
        for clip in self.manifest["clips"]:
            place = places.get(clip["key"])
            if place is None or place.shard != clip["shard"] or set(place.members) != set(MEMBERS):
                raise ShardError(
                    f"{self.path}: clip {clip['key']!r} of the manifest is not whole in {clip['shard']}. {REBUILD}"
                )
            clips.append(ClipEntry(clip["key"], clip["speaker"], clip["split"], clip["num_frames"], place))
        return clips

    def _frame_table(self, clip: ClipEntry) -> tuple[np.ndarray, np.ndarray]:
        """Offsets (N + 1,) and checksums (N,) of the clip's frames."""
        table = self._frame_tables.get(clip.key)
        if table is None:
            offsets, crcs = self._array(clip, FRAMES_INDEX), self._array(clip, FRAMES_CRC)
            size = clip.location.members[FRAMES][1]
            if len(offsets) != clip.num_frames + 1 or len(crcs) != clip.num_frames or int(offsets[-1]) != size:
                raise self._damaged(clip, FRAMES_INDEX, f"it lists {len(offsets) - 1} frames, not {clip.num_frames}")
            table = offsets, crcs
            self._frame_tables[clip.key] = table
            if len(self._frame_tables) > CACHED_CLIPS:
                self._frame_tables.pop(next(iter(self._frame_tables)), None)
        return table

    def _array(self, clip: ClipEntry, name: str) -> np.ndarray:
        try:
            return decode_npy(self._member(clip, name))
        except ShardError:
            raise
        except ValueError as error:
            raise self._damaged(clip, name, str(error)) from error

    def _member(self, clip: ClipEntry, name: str) -> bytes:
        offset, size, crc = clip.location.members[name]
        data = self._pread(clip, name, offset, size)
        if zlib.crc32(data) != crc:
            raise self._damaged(clip, name, "its bytes do not match their checksum")
        return data

    def _pread(self, clip: ClipEntry, name: str, offset: int, size: int) -> bytes:
        shard = clip.location.shard
        try:
            file = self._files.get(shard)
            if file is None:
                opened = os.open(self.path / shard, os.O_RDONLY)
                file = self._files.setdefault(shard, opened)
                if file != opened:  # another thread was faster
                    os.close(opened)
            data = os.pread(file, size, offset)
            while 0 < len(data) < size:  # a read may stop early
                more = os.pread(file, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise self._damaged(clip, name, f"it cannot be read ({error})") from error
        if len(data) != size:
            raise self._damaged(clip, name, f"the file ends after {len(data)} of {size} bytes")
        return data

    def _where(self, clip: ClipEntry) -> str:
        return f"{self.path / clip.location.shard}: clip {clip.key!r}"

    def _damaged(self, clip: ClipEntry, name: str, what: str) -> ShardError:
        return ShardError(f"{self._where(clip)}, {name} is damaged: {what}. Copy the shard again, or: {REBUILD}")
