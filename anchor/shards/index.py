"""The index beside a shard: where each member of each clip begins, how long it is, and its checksums.

A line of JSON, then numpy columns. Everything in a shard but the zeros at its end is under a checksum: the data of a
member under its own, and what lies before it (the padding of the previous one and its tar header) under ``gap_crcs``.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import ShardError
from anchor.shards.folder import pread
from anchor.shards.members import FORMAT_VERSION, MEMBERS, split_name

__all__ = ["MAX_GAP", "ShardIndex", "index_tar"]

COLUMNS = (("offsets", "<i8"), ("sizes", "<u4"), ("crcs", "<u4"), ("gap_crcs", "<u4"))
BLOCK = 512  # bytes, of a tar
MAX_GAP = 64 * 1024  # bytes between two members: padding, a header, and what a very long name needs


@dataclass(frozen=True)
class ShardIndex:
    """The columns of one shard, each (clips, members); members lie in the order of ``names``."""

    names: tuple[str, ...]
    offsets: np.ndarray  # int64, bytes from the begin of the shard to the data
    sizes: np.ndarray  # uint32, bytes
    crcs: np.ndarray  # uint32, CRC-32 of the data
    gap_crcs: np.ndarray | None  # uint32, CRC-32 of what lies between the previous data and this; None: not known

    def place(self, row: int, name: str) -> tuple[int, int, int]:
        """Begin of the gap, begin of the data and its end, of a member of the clip ``row``, in bytes."""
        flat = row * len(self.names) + self.names.index(name)
        offset = int(self.offsets.flat[flat])
        gap = int(self.offsets.flat[flat - 1]) + int(self.sizes.flat[flat - 1]) if flat else 0
        return gap, offset, offset + int(self.sizes.flat[flat])

    def check(self, row: int, name: str, gap: bytes | memoryview, data: bytes | memoryview | None) -> str | None:
        """What is wrong with the bytes of a member, None where nothing is; no ``data`` looks at the gap alone."""
        column = self.names.index(name)
        if self.gap_crcs is not None and zlib.crc32(gap) != self.gap_crcs[row, column]:
            return "its tar header does not match its checksum"
        if data is not None and zlib.crc32(data) != self.crcs[row, column]:
            return "its bytes do not match their checksum"
        return None

    @property
    def end(self) -> int:
        """Where the data of the last member end, in bytes."""
        return int(self.offsets.flat[-1]) + int(self.sizes.flat[-1]) if self.offsets.size else 0

    def to_bytes(self, shard: str, keys: Sequence[str]) -> bytes:
        """The index file of ``shard``, whose clips have these keys."""
        assert self.gap_crcs is not None
        joined = "\n".join(keys).encode()
        header = {
            "format_version": FORMAT_VERSION, "shard": shard, "clips": len(keys), "members": self.names,
            "keys_bytes": len(joined),
        }  # fmt: skip
        columns = [getattr(self, name).astype(kind).tobytes() for name, kind in COLUMNS]
        return b"".join([json.dumps(header).encode(), b"\n", joined, *columns])

    @classmethod
    def from_bytes(cls, data: bytes, shard: dict[str, Any], codec: str, keys: Sequence[str]) -> ShardIndex:
        """Read an index file; ``shard`` is the manifest's entry, ``keys`` are those of its clips there.

        Raises:
            ValueError: the file is not what was written, or describes what no shard of this size holds.
        """
        if hashlib.sha256(data).hexdigest() != shard["index_sha256"]:
            raise ValueError("is not the index that was written")
        line, _, rest = data.partition(b"\n")
        header = json.loads(line)
        names, count, keys_bytes = tuple(header["members"]), header["clips"], header["keys_bytes"]
        strange = sorted(set(names) - set(MEMBERS[codec]))
        if strange:
            raise ValueError(
                f"lists a member {strange[0]!r}, which no set of codec {codec} has; it is never loaded or unpickled"
            )
        if names != MEMBERS[codec] or count != shard["clips"] or header["shard"] != shard["name"]:
            raise ValueError(f"describes {count} clips of {header['shard']}, not {shard['clips']} of {shard['name']}")
        cells = count * len(names)
        if len(rest) != keys_bytes + cells * sum(np.dtype(kind).itemsize for _, kind in COLUMNS):
            raise ValueError("has not the length that it claims")
        if rest[:keys_bytes] != "\n".join(keys).encode():
            raise ValueError("names other clips than the manifest")
        columns, place = {}, keys_bytes
        for name, kind in COLUMNS:
            column = np.frombuffer(rest, kind, cells, place).reshape(count, len(names))
            columns[name], place = column, place + column.nbytes
        index = cls(names, **columns)
        index.expect_inside(shard["bytes"])
        return index

    def expect_inside(self, num_bytes: int) -> None:
        """See that the members lie one after another inside a file of ``num_bytes``.

        Raises:
            ValueError: they do not.
        """
        begins = self.offsets.reshape(-1)
        ends = begins + self.sizes.reshape(-1).astype(np.int64)
        gaps = begins - np.concatenate([[0], ends[:-1]]) if len(begins) else begins
        if len(begins) and (gaps.min() < BLOCK or gaps.max() > MAX_GAP or ends[-1] > num_bytes):
            raise ValueError(f"claims places that a shard of {num_bytes} bytes does not have")


def index_tar(path: Path, crcs: np.ndarray, names: tuple[str, ...], keys: Sequence[str]) -> ShardIndex:
    """The index of a shard that was just written; ``crcs`` (clips, members) are of the bytes that were meant.

    Raises:
        ShardError: the tar does not hold what was written into it.
    """
    try:
        with tarfile.open(path) as tar:
            found = [(member.name, member.offset_data, member.size, member.isreg()) for member in tar]
    except tarfile.TarError as error:
        raise ShardError(f"{path} is not the tar that was written ({error}). Check the disk.") from error
    expected = [(key, name) for key in keys for name in names]
    if [split_name(name) for name, *_ in found] != expected or not all(is_file for *_, is_file in found):
        raise ShardError(f"{path} does not hold the {len(keys)} clips that were written into it. Check the disk.")
    offsets = np.array([offset for _, offset, _, _ in found], np.int64).reshape(crcs.shape)
    sizes = np.array([size for _, _, size, _ in found], np.int64).reshape(crcs.shape)
    assert sizes.max(initial=0) < 2**32, "a member of more than 4 GB"
    ends = np.concatenate([[0], (offsets + sizes).reshape(-1)[:-1]]) if found else offsets.reshape(-1)
    with path.open("rb") as file:
        gaps = [
            zlib.crc32(pread(file.fileno(), int(end), int(offset - end)))
            for end, offset in zip(ends, offsets.reshape(-1), strict=True)
        ]
    return ShardIndex(names, offsets, sizes, crcs, np.array(gaps, np.uint32).reshape(crcs.shape))
