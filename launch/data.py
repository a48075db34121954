"""What a run needs of its data, looked at before any card is taken: in seconds, and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError

__all__ = ["check_data"]


def check_data(options: Mapping[str, Any], world_size: int) -> None:
    """Open the shard sets that the datamodule's ``options`` name, and see that ``world_size`` cards share a batch.

    Raises:
        ShardError: a shard is missing, short, swapped or of another format; names it.
        ConfigError: the cards cannot share a global batch.
    """
    from anchor.shards import ShardSet
    from anchor.shards.cache import CacheSettings
    from datamodules.order import check_sizes

    check_sizes(options.get("batch_size", 1), options.get("windows_per_clip", 1), world_size)
    if options.get("_target_") != "datamodules.ShardDataModule":
        return
    paths = options.get("path")
    if not paths or not isinstance(paths, (str, list)):
        raise ConfigError(f"datamodule.path={paths} names no folder. Give path=DIR, or path=[DIR,DIR].")
    folder, gigabytes = options.get("cache_dir"), options.get("cache_gb")
    cache = CacheSettings(Path(folder) if folder else None, round(gigabytes * 1e9) if gigabytes is not None else None)
    for path in [paths] if isinstance(paths, str) else paths:
        ShardSet(path, cache).close()
