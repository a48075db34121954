"""Sets of shards: clips in tars that plain webdataset reads too, with checksums and a manifest."""

from anchor.shards.reader import ShardSet
from anchor.shards.writer import ShardSetWriter, encode_clip

__all__ = ["ShardSet", "ShardSetWriter", "encode_clip"]
