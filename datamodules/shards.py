"""Windows out of shards that `anchor preprocess` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anchor.batch import ClipSource
from anchor.errors import ConfigError
from anchor.shards import ShardSet
from anchor.shards.cache import CacheSettings
from anchor.timing import FPS, WINDOW_FRAMES
from datamodules.base import WindowDataModule, check_count
from datamodules.joined import JoinedSources

__all__ = ["ShardDataModule"]


class ShardDataModule(WindowDataModule):
    """Windows of one or several shard sets.

    Args:
        path: folder or address (``s3://``, ``https://``) of a shard set, or a list of them that are read as one.
        repeat: how often an epoch shows the clips of each folder; once where nothing is given. It lets a minute of one
            person stand beside an hour of others.
        material_s: of each folder only the first so many seconds of training are shown, to see what less material does;
            None shows all.
        cache_dir: where shards of an address are kept; None is ``$ANCHOR_CACHE`` or a folder of the user's.
        cache_gb: how much of them is kept there, in 10^9 bytes; None is ``$ANCHOR_CACHE_GB`` or 100.
        **options: as in :class:`WindowDataModule`.
    """

    def __init__(
        self,
        *,
        path: str | Sequence[str],
        repeat: Sequence[int] = (),
        material_s: float | None = None,
        cache_dir: str | None = None,
        cache_gb: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.cache_dir, self.cache_gb = cache_dir, cache_gb
        self.paths = [path] if isinstance(path, str) else list(path)
        self.repeats = list(repeat) or [1] * len(self.paths)
        for times in self.repeats:
            check_count("repeat", times, least=1)
        if material_s is not None and not material_s * FPS >= WINDOW_FRAMES:
            raise ConfigError(
                f"datamodule.material_s={material_s:g} is shorter than a window of {WINDOW_FRAMES} frames. Give "
                f"{WINDOW_FRAMES / FPS:g} or more, or null for all there is."
            )
        self.material_frames = None if material_s is None else round(material_s * FPS)
        if len(self.repeats) != len(self.paths):
            raise ConfigError(
                f"datamodule.repeat={self.repeats} has {len(self.repeats)} numbers for {len(self.paths)} folders of "
                "datamodule.path. Give one for each."
            )

    def open_source(self) -> ClipSource:
        """The shard sets, their manifests checked."""
        cache = CacheSettings(
            Path(self.cache_dir) if self.cache_dir else None,
            round(self.cache_gb * 1e9) if self.cache_gb is not None else None,
        )
        return JoinedSources([ShardSet(path, cache) for path in self.paths], self.repeats, self.material_frames)
