"""In which order windows are seen: a pure function of (seed, epoch), the same whatever the number of ranks.

An epoch shows every window of every training clip exactly once, or ``repeat`` times where a clip asks for it. Windows
come in groups of one clip whose members lie at least five frames apart, so that the speech of any of them is a fair
wrong answer for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from anchor.timing import WINDOW_FRAMES, WINDOW_RADIUS

__all__ = ["TrainOrder", "ValidationOrder", "WindowKey"]


class WindowKey(NamedTuple):
    """One window, and the epoch whose chances it is drawn with."""

    clip: int  # number in the split
    frame: int  # centre frame
    epoch: int
    turn: int = 0  # which of the epoch's showings, for clips that are repeated


class TrainOrder(Sampler[list[WindowKey]]):
    """Batches of window keys for one rank; together the ranks see the same global batches as one rank alone.

    Args:
        clips: the training clips.
        batch_size: windows in a global batch, a multiple of ``windows_per_clip``; a last batch may be smaller.
        windows_per_clip: windows of one clip in a batch, met as nearly as a clip's length allows.
        rank, world_size: this process and how many there are.

    Raises:
        ConfigError: the sizes do not divide, or no clip is long enough for a window.
    """

    def __init__(
        self,
        clips: Sequence[ClipEntry],
        *,
        batch_size: int,
        windows_per_clip: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.groups_per_batch = batch_size // windows_per_clip
        if self.groups_per_batch * windows_per_clip != batch_size:
            raise ConfigError(
                f"datamodule.batch_size={batch_size} is no multiple of datamodule.windows_per_clip={windows_per_clip}. "
                f"Use {max(1, round(batch_size / windows_per_clip)) * windows_per_clip}."
            )
        if self.groups_per_batch % world_size:
            fitting = [n for n in range(1, self.groups_per_batch + 1) if self.groups_per_batch % n == 0]
            near = [max(n for n in fitting if n < world_size), *[n for n in fitting if n > world_size][:1]]
            raise ConfigError(
                f"{world_size} cards cannot share a global batch of {self.groups_per_batch} groups evenly. "
                f"Use {' or '.join(map(str, near))} cards, or a datamodule.batch_size that is a multiple of "
                f"{world_size * windows_per_clip}."
            )
        self.groups = np.array(
            [group for i, clip in enumerate(clips) for group in _groups(i, clip, windows_per_clip)], object
        )
        if not len(self.groups):
            raise ConfigError(f"No training clip has {WINDOW_FRAMES} frames. Give longer clips to `anchor preprocess`.")
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.position = 0  # global batches seen since training began; says where the next pass starts

    def __len__(self) -> int:
        return -(-len(self.groups) // self.groups_per_batch)

    def __iter__(self) -> Iterator[list[WindowKey]]:
        epoch, order = -1, np.empty(0, int)
        for place in range(self.position, self.position + len(self)):
            if place // len(self) != epoch:
                epoch = place // len(self)
                order = np.random.default_rng([self.seed, epoch]).permutation(len(self.groups))
                if short := -len(order) % self.world_size:  # every rank needs a group of the last batch
                    order = np.concatenate([order, order[:short]])
            first = place % len(self) * self.groups_per_batch
            yield self._keys(order[first : first + self.groups_per_batch][self.rank :: self.world_size], epoch)

    def _keys(self, groups: np.ndarray, epoch: int) -> list[WindowKey]:
        keys = []
        for i in groups:
            clip, turn, residue, part, parts = self.groups[i]
            frames = np.random.default_rng([self.seed, epoch, clip, turn, residue[0]]).permutation(residue)
            keys += [WindowKey(clip, int(frame), epoch, turn) for frame in frames[part::parts]]
        return keys


class ValidationOrder(Sampler[list[WindowKey]]):
    """Batches of the fixed validation windows: evenly spread over each clip, the same for every run and world.

    Raises:
        ConfigError: there are fewer windows than ranks.
    """

    position = 0  # always from the beginning

    def __init__(
        self,
        clips: Sequence[ClipEntry],
        *,
        batch_size: int,
        windows_per_clip: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        keys = []
        for i, clip in enumerate(clips):
            centres = _centres(clip)
            count = min(windows_per_clip, len(centres))
            places = np.linspace(0, len(centres) - 1, 2 * count + 1)[1::2]
            keys += [WindowKey(i, int(centres[round(place)]), 0) for place in places]
        if len(keys) < world_size:
            raise ConfigError(
                f"{len(keys)} validation windows are too few for {world_size} cards. Raise "
                "datamodule.val_windows_per_clip, or hold more clips out in `anchor preprocess`."
            )
        mine = keys[rank::world_size]
        self.batches = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[WindowKey]]:
        return iter(self.batches)


def _centres(clip: ClipEntry) -> np.ndarray:
    return np.arange(WINDOW_RADIUS, clip.num_frames - WINDOW_RADIUS)


def _groups(number: int, clip: ClipEntry, size: int) -> list[tuple[int, int, np.ndarray, int, int]]:
    """``(clip, turn, centres five apart, part, parts)``: the clip's windows in groups of about ``size``."""
    groups = []
    for residue in range(WINDOW_FRAMES):
        centres = _centres(clip)[residue::WINDOW_FRAMES]
        if len(centres):
            parts = max(1, round(len(centres) / size))
            groups += [(number, turn, centres, part, parts) for turn in range(clip.repeat) for part in range(parts)]
    return groups
