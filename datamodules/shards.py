"""Windows out of shards that `anchor preprocess` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anchor.batch import ClipEntry, ClipSource
from anchor.errors import ConfigError
from anchor.shards import ShardSet
from datamodules.base import WindowDataModule

__all__ = ["ShardDataModule"]


class ShardDataModule(WindowDataModule):
    """Windows of one or several shard sets.

    Args:
        path: folder of a shard set, or a list of folders that are read as one.
        repeat: how often an epoch shows the clips of each folder; once where nothing is given. It lets a minute of one
            person stand beside an hour of others.
        **options: as in :class:`WindowDataModule`.
    """

    def __init__(self, *, path: str | Sequence[str], repeat: Sequence[int] = (), **options: Any) -> None:
        super().__init__(**options)
        self.paths = [path] if isinstance(path, str) else list(path)
        self.repeats = list(repeat) or [1] * len(self.paths)
        if len(self.repeats) != len(self.paths):
            raise ConfigError(
                f"datamodule.repeat={self.repeats} has {len(self.repeats)} numbers for {len(self.paths)} folders of "
                "datamodule.path. Give one for each."
            )

    def open_source(self) -> ClipSource:
        """The shard sets, their manifests checked."""
        return _Joined([ShardSet(path) for path in self.paths], self.repeats)


class _Joined:
    """Several clip sources as one."""

    def __init__(self, sources: Sequence[ClipSource], repeats: Sequence[int]) -> None:
        self.sources = sources
        self.identity = ",".join(
            f"{getattr(source, 'identity', '')}x{repeat}" for source, repeat in zip(sources, repeats, strict=True)
        )
        self.clips = [
            replace(clip, key=f"{number}/{clip.key}", location=(number, clip), repeat=repeat)
            for number, (source, repeat) in enumerate(zip(sources, repeats, strict=True))
            for clip in source.clips
        ]

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        return self.sources[clip.location[0]].read_frames(clip.location[1], frames)

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        return self.sources[clip.location[0]].read_mel(clip.location[1])

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        return self.sources[clip.location[0]].read_audio(clip.location[1])

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        return self.sources[clip.location[0]].read_meta(clip.location[1])
