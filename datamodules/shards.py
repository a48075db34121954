"""Windows out of shards that `anchor preprocess` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anchor.batch import ClipEntry, ClipSource
from anchor.shards import ShardSet
from datamodules.base import WindowDataModule

__all__ = ["ShardDataModule"]


class ShardDataModule(WindowDataModule):
    """Windows of one or several shard sets.

    Args:
        path: folder of a shard set, or a list of folders that are read as one.
        **options: as in :class:`WindowDataModule`.
    """

    def __init__(self, *, path: str | Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.paths = [path] if isinstance(path, str) else list(path)

    def open_source(self) -> ClipSource:
        """The shard sets, their manifests checked."""
        sets = [ShardSet(path) for path in self.paths]
        return sets[0] if len(sets) == 1 else _Joined(sets)


class _Joined:
    """Several clip sources as one."""

    def __init__(self, sources: Sequence[ClipSource]) -> None:
        self.clips: list[ClipEntry] = []
        self.sources = sources
        for number, source in enumerate(sources):
            for clip in source.clips:
                self.clips.append(
                    ClipEntry(f"{number}/{clip.key}", f"{number}/{clip.speaker}", clip.split, clip.num_frames, (number, clip))
                )

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        return self.sources[clip.location[0]].read_frames(clip.location[1], frames)

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        return self.sources[clip.location[0]].read_mel(clip.location[1])

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        return self.sources[clip.location[0]].read_audio(clip.location[1])

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        return self.sources[clip.location[0]].read_meta(clip.location[1])
