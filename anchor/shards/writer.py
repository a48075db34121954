"""Write a set of shards: tars by webdataset, an index with checksums beside each, a manifest over all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from anchor.errors import ShardError
from anchor.ops.jpeg import decode_rgb, encode_rgb
from anchor.shards.clips import ClipTable
from anchor.shards.index import index_tar
from anchor.shards.jpegs import pack_frames
from anchor.shards.manifest import manifest_text
from anchor.shards.members import (
    AUDIO,
    FORMAT_VERSION,
    MANIFEST,
    MEL,
    MEMBERS,
    META,
    Codec,
    encode_flac,
    encode_npy,
    index_name,
    shard_name,
)
from anchor.shards.video import pack_video

__all__ = ["MAX_SHARD_BYTES", "ShardSetWriter", "encode_clip", "encode_frames"]

MAX_SHARD_BYTES = 256 * 2**20  # enough for sequential reading, small enough to fetch and to lose
MTIME = 1_000_000_000  # seconds, stamped on members: equal clips make equal shards; a float would cost 1 kB each


def encode_clip(
    frames: Sequence[np.ndarray] | Sequence[bytes],
    mel: np.ndarray,
    audio: np.ndarray,
    meta: Mapping[str, Any],
    codec: Codec = "jpeg",
) -> dict[str, bytes]:
    """The members of one clip.

    ``frames`` are uint8 RGB crops or their JPEGs, ``mel`` is (steps, 80), ``audio`` float32 mono at 16 kHz. The codec
    ``h264`` needs about half the bytes of ``jpeg`` and two to three times the time to read.
    """
    return {
        **encode_frames(frames, codec),
        MEL: encode_npy(mel.astype(np.float16)),
        AUDIO: encode_flac(audio),
        META: json.dumps(dict(meta), ensure_ascii=False).encode(),
    }


def encode_frames(frames: Sequence[np.ndarray] | Sequence[bytes], codec: Codec) -> dict[str, bytes]:
    """The members that hold the frames; ``frames`` as in ``encode_clip``."""
    if codec == "h264":
        return pack_video([decode_rgb(frame) if isinstance(frame, bytes) else frame for frame in frames])
    return pack_frames([frame if isinstance(frame, bytes) else encode_rgb(frame) for frame in frames])


class ShardSetWriter:
    """Add clips in the order in which they shall lie, then ``close``. The set is complete when its manifest is there.

    ``out`` is an existing folder; it is the caller's to make the whole of it appear at once.
    """

    def __init__(
        self,
        out: Path,
        image_size: int,
        mel_config_hash: str,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        codec: Codec = "jpeg",
    ) -> None:
        import webdataset

        self.out, self.codec, self.names = Path(out), codec, MEMBERS[codec]
        self._image_size, self._mel_hash = image_size, mel_config_hash
        self._keys: dict[str, None] = {}
        self._speakers: list[str] = []
        self._splits: list[str] = []
        self._numbers: list[tuple[int, int]] = []  # frames and shard of each clip
        self._shards: list[dict[str, Any]] = []
        self._crcs: list[list[int]] = []  # of the shard that is being written, and its keys
        self._shard_keys: list[str] = []
        self._file: _HashedFile | None = None
        pattern = str(self.out).replace("%", "%%") + "/shard-%06d.tar"
        self._tar = webdataset.ShardWriter(
            pattern, maxcount=1_000_000, maxsize=max_shard_bytes, verbose=0, encoder=False, mtime=MTIME,
            opener=self._open, post=self._finish_shard,
        )  # fmt: skip

    def add(self, members: Mapping[str, bytes], *, key: str, speaker: str, split: str, num_frames: int) -> None:
        """Write one clip; ``members`` come from ``encode_clip``.

        Raises:
            ShardError: the key is taken, or cannot be one (webdataset cuts names at the first dot), or the members
                are of another codec.
        """
        if not key or "." in key or key.startswith("/") or any(ord(letter) < 32 for letter in key):
            raise ShardError(
                f"{self.out}: {key!r} cannot be the key of a clip. Leave out dots, line breaks and a leading slash."
            )
        if key in self._keys:
            raise ShardError(f"{self.out}: two clips have the key {key!r}. Rename one of the sources.")
        if set(members) != set(self.names):
            raise ShardError(
                f"{self.out}: clip {key!r} has the members {', '.join(sorted(members))}, codec={self.codec} needs "
                f"{', '.join(self.names)}. Encode it with the codec of the set."
            )
        self._tar.write({"__key__": key, **members})
        self._crcs.append([zlib.crc32(members[name]) for name in self.names])
        self._keys[key] = None
        self._shard_keys.append(key)
        self._speakers.append(speaker)
        self._splits.append(split)
        self._numbers.append((int(num_frames), len(self._shards)))

    def close(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Finish the tars, write the indexes and the manifest (``extra`` goes into it); returns the manifest."""
        self._tar.close()
        speakers, splits = sorted(set(self._speakers)), list(dict.fromkeys(self._splits))
        columns = np.array(self._numbers, np.int32).reshape(-1, 2)
        clips = ClipTable(
            list(self._keys), speakers, _numbers_of(self._speakers, speakers), splits,
            _numbers_of(self._splits, splits), columns[:, 0], columns[:, 1],
        )  # fmt: skip
        counts = {
            split: {"clips": int(chosen.sum()), "frames": int(columns[chosen, 0].sum())}
            for split, chosen in ((name, clips.split_numbers == number) for number, name in enumerate(splits))
        }
        manifest = {
            "format_version": FORMAT_VERSION,
            "codec": self.codec,
            "mel_config_hash": self._mel_hash,
            "image_size": self._image_size,
            "num_clips": len(clips),
            "num_frames": int(columns[:, 0].sum()),
            "num_bytes": sum(shard["bytes"] for shard in self._shards),
            "speakers": speakers,
            "splits": counts,
            "shards": self._shards,
        }
        assert not set(manifest) & set(extra or ()), "extra= would hide what the manifest says"
        manifest.update(extra or {})
        partial = self.out / f".{MANIFEST}.partial"
        partial.write_bytes(manifest_text(manifest, clips))
        partial.replace(self.out / MANIFEST)
        return manifest

    def abort(self) -> None:
        """Close the tar that is open, whatever it holds: the set will not be finished."""
        if self._file is not None:
            self._file.close()
        self._tar.tarstream = None

    def _open(self, path: str) -> _HashedFile:
        self._file = _HashedFile(Path(path))
        return self._file

    def _finish_shard(self, path: str) -> None:
        """Write the index of a tar that is whole, and forget what was only needed for it."""
        assert self._file is not None
        file = self._file
        file.close()
        if not self._crcs:  # a set without clips
            file.path.unlink()
            return
        name, keys = shard_name(len(self._shards)), self._shard_keys
        assert file.path.name == name
        index = index_tar(file.path, np.array(self._crcs, np.uint32), self.names, keys)
        data = index.to_bytes(name, keys)
        (self.out / index_name(name)).write_bytes(data)
        head_bytes = int(index.offsets[0, 0])
        with file.path.open("rb") as tar:
            head_crc = zlib.crc32(tar.read(head_bytes))
        self._shards.append(
            {
                "name": name, "bytes": file.size, "sha256": file.digest.hexdigest(), "clips": len(keys),
                "index_bytes": len(data), "index_sha256": hashlib.sha256(data).hexdigest(),
                "head_bytes": head_bytes, "head_crc": head_crc,
            }
        )  # fmt: skip
        self._crcs, self._shard_keys = [], []


class _HashedFile:
    """A new file whose size and SHA-256 are known when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.digest = path, 0, hashlib.sha256()
        self._file: IO[bytes] = path.open("wb")

    def write(self, data: bytes) -> int:
        if self._file.closed:  # a tar that was given up says its last words when it is collected
            return len(data)
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def close(self) -> None:
        with contextlib.closing(self._file):
            self._file.flush()


def _numbers_of(values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(names)}
    return np.fromiter((numbers[value] for value in values), np.int32, len(values))
