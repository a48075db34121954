"""Sets of format 1, whose indexes were JSON: read for `anchor shards merge`, which writes them anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from anchor.shards.index import ShardIndex
from anchor.shards.members import MEMBERS

__all__ = ["from_version1", "index_name_1", "index_version1"]


def index_name_1(shard: str) -> str:
    """The file name of the index beside ``shard``."""
    return shard.removesuffix(".tar") + ".idx.json"


def from_version1(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of format 1 as the later formats write it.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    clips = manifest["clips"]
    names = [shard["name"] for shard in manifest["shards"]]
    numbers = {name: number for number, name in enumerate(names)}
    speakers = {name: number for number, name in enumerate(manifest["speakers"])}
    splits = {name: number for number, name in enumerate(manifest["splits"])}
    columns = {
        "keys": [clip["key"] for clip in clips],
        "speakers": [speakers[clip["speaker"]] for clip in clips],
        "splits": [splits[clip["split"]] for clip in clips],
        "num_frames": [clip["num_frames"] for clip in clips],
        "shards": [numbers[clip["shard"]] for clip in clips],
    }
    unknown = {"index_bytes": 0, "head_bytes": 0, "head_crc": 0}  # that format did not say
    shards = [{**shard, **unknown} for shard in manifest["shards"]]
    num_bytes = sum(shard["bytes"] for shard in shards)
    return {**manifest, "codec": "jpeg", "num_bytes": num_bytes, "shards": shards, "clips": columns}


def index_version1(data: bytes, shard: dict[str, Any], keys: Sequence[str]) -> ShardIndex:
    """Read an index of format 1.

    Raises:
        ValueError, KeyError, TypeError: the file is not what was written.
    """
    if hashlib.sha256(data).hexdigest() != shard["index_sha256"]:
        raise ValueError("is not the index that was written")
    clips, names = json.loads(data)["clips"], MEMBERS["jpeg"]
    if list(clips) != list(keys) or any(set(clips[key]) != set(names) for key in keys):
        raise ValueError("names other clips or members than the manifest")
    table = np.array([[clips[key][name] for name in names] for key in keys], np.int64).reshape(len(keys), len(names), 3)
    index = ShardIndex(names, table[..., 0], table[..., 1], table[..., 2].astype(np.uint32), None)
    index.expect_inside(shard["bytes"])
    return index
