"""What a run needs of its data, looked at before anything heavy loads and any card is taken: in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError

__all__ = ["check_shards", "check_sharing"]


def check_shards(options: Mapping[str, Any]) -> None:
    """Open the shard sets that the datamodule's ``options`` name; neither torch nor Lightning is needed for that.

    Raises:
        ShardError: a shard is missing, short, swapped or of another format; names it.
        ConfigError: no folder is named.
    """
    if options.get("_target_") != "datamodules.ShardDataModule":
        return
    from anchor.shards import ShardSet
    from anchor.shards.cache import CacheSettings

    paths = options.get("path")
    if not paths or not isinstance(paths, (str, list)):
        raise ConfigError(f"datamodule.path={paths} names no folder. Give path=DIR, or path=[DIR,DIR].")
    folder, gigabytes = options.get("cache_dir"), options.get("cache_gb")
    cache = CacheSettings(Path(folder) if folder else None, round(gigabytes * 1e9) if gigabytes is not None else None)
    for path in [paths] if isinstance(paths, str) else paths:
        ShardSet(path, cache).close()


def check_sharing(options: Mapping[str, Any], world_size: int) -> None:
    """See that ``world_size`` cards can share a global batch of the datamodule.

    Raises:
        ConfigError: they cannot; names the nearest numbers that can.
    """
    from datamodules.groups import check_sizes

    check_sizes(options.get("batch_size", 1), options.get("windows_per_clip", 1), world_size)
