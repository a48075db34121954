"""Write a set of shards: tars by webdataset, an index with checksums beside each, a manifest over all."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import ShardError
from anchor.ops.jpeg import encode_rgb
from anchor.shards.members import (
    AUDIO,
    FORMAT_VERSION,
    MANIFEST,
    MEL,
    MEMBERS,
    META,
    encode_flac,
    encode_npy,
    index_name,
    pack_frames,
    shard_name,
)

__all__ = ["ShardSetWriter", "encode_clip", "file_sha256"]

MAX_SHARD_BYTES = 256 * 2**20  # enough for sequential reading, small enough to fetch and to lose
MTIME = 1_000_000_000.0  # the time stamped on members, so that equal clips make equal shards


def encode_clip(
    frames: list[np.ndarray] | list[bytes], mel: np.ndarray, audio: np.ndarray, meta: Mapping[str, Any]
) -> dict[str, bytes]:
    """The members of one clip.

    ``frames`` are uint8 RGB crops or their JPEGs, ``mel`` is (steps, 80), ``audio`` float32 mono at 16 kHz.
    """
    jpegs = [frame if isinstance(frame, bytes) else encode_rgb(frame) for frame in frames]
    return {
        **pack_frames(jpegs),
        MEL: encode_npy(mel.astype(np.float16)),
        AUDIO: encode_flac(audio),
        META: json.dumps(dict(meta), ensure_ascii=False).encode(),
    }


class ShardSetWriter:
    """Add clips in the order in which they shall lie, then ``close``. The set is complete when its manifest is there.

    ``out`` is an existing folder; it is the caller's to make the whole of it appear at once.
    """

    def __init__(
        self, out: Path, image_size: int, mel_config_hash: str, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> None:
        import webdataset

        self.out = Path(out)
        self._image_size, self._mel_hash = image_size, mel_config_hash
        pattern = str(self.out).replace("%", "%%") + "/shard-%06d.tar"
        self._tar = webdataset.ShardWriter(
            pattern, maxcount=1_000_000, maxsize=max_shard_bytes, verbose=0, encoder=False, mtime=MTIME
        )
        self._clips: list[dict[str, Any]] = []
        self._crcs: dict[str, dict[str, int]] = {}

    def add(self, members: Mapping[str, bytes], *, key: str, speaker: str, split: str, num_frames: int) -> None:
        """Write one clip; ``members`` come from ``encode_clip``.

        Raises:
            ShardError: the key is taken, or cannot be one (webdataset cuts names at the first dot).
        """
        if not key or "." in key or key.startswith("/"):
            raise ShardError(f"{self.out}: {key!r} cannot be the key of a clip. Leave out dots and a leading slash.")
        if key in self._crcs:
            raise ShardError(f"{self.out}: two clips have the key {key!r}. Rename one of the sources.")
        assert set(members) == set(MEMBERS)
        self._tar.write({"__key__": key, **members})
        self._crcs[key] = {name: zlib.crc32(data) for name, data in members.items()}
        self._clips.append(
            {
                "key": key,
                "speaker": speaker,
                "split": split,
                "num_frames": int(num_frames),
                "shard": shard_name(self._tar.shard - 1),
            }
        )

    def close(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Finish the tars, write the indexes and the manifest (``extra`` goes into it); returns the manifest."""
        self._tar.close()
        shards = []
        for name in dict.fromkeys(clip["shard"] for clip in self._clips):
            index = json.dumps({"format_version": FORMAT_VERSION, "shard": name, "clips": self._index(name)})
            (self.out / index_name(name)).write_text(index, encoding="utf-8")
            path = self.out / name
            shards.append(
                {
                    "name": name,
                    "bytes": path.stat().st_size,
                    "sha256": file_sha256(path),
                    "index_sha256": hashlib.sha256(index.encode()).hexdigest(),
                    "clips": sum(clip["shard"] == name for clip in self._clips),
                }
            )
        splits: dict[str, dict[str, int]] = {}
        for clip in self._clips:
            counts = splits.setdefault(clip["split"], {"clips": 0, "frames": 0})
            counts["clips"] += 1
            counts["frames"] += clip["num_frames"]
        manifest = {
            "format_version": FORMAT_VERSION,
            "mel_config_hash": self._mel_hash,
            "image_size": self._image_size,
            "num_clips": len(self._clips),
            "num_frames": sum(clip["num_frames"] for clip in self._clips),
            "speakers": sorted({clip["speaker"] for clip in self._clips}),
            "splits": splits,
            "shards": shards,
            "clips": self._clips,
            **(extra or {}),
        }
        partial = self.out / f".{MANIFEST}.partial"
        partial.write_text(json.dumps(manifest, ensure_ascii=False, indent=1), encoding="utf-8")
        partial.replace(self.out / MANIFEST)
        return manifest

    def _index(self, shard: str) -> dict[str, dict[str, list[int]]]:
        """``{key: {member: [offset, size, crc32]}}`` of a finished tar; offsets are of the data itself."""
        clips: dict[str, dict[str, list[int]]] = {}
        with tarfile.open(self.out / shard) as tar:
            for member in tar:
                key, name = _split_name(member.name)
                clips.setdefault(key, {})[name] = [member.offset_data, member.size, self._crcs[key][name]]
        return clips


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _split_name(name: str) -> tuple[str, str]:
    """A member's key and kind, cut where webdataset cuts: at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    key, _, kind = last.partition(".")
    return folder + slash + key, kind
