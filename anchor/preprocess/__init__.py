"""Videos to shards: `anchor preprocess source=SRC out=SHARDS`."""

from anchor.preprocess.run import Summary, preprocess

__all__ = ["Summary", "preprocess"]
