"""In which order windows are seen: a pure function of (seed, epoch), the same whatever the number of ranks.

An epoch shows every window of every training clip exactly once, or ``repeat`` times where a clip asks for it. A global
batch is a stretch of the epoch's order and each rank takes an equal part of it, so neither ranks, workers nor prefetch
change what a batch holds. The last batch of an epoch is filled up with windows that count nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from anchor.timing import WINDOW_FRAMES, window_centres
from datamodules.groups import EpochOrder, WindowGroups, check_sizes
from datamodules.joined import frames_of, repeats_of

__all__ = ["PLAN_VERSION", "TrainOrder", "ValidationOrder", "WindowKey"]

PLAN_VERSION = 2  # raise it when the same seed would give another order


class WindowKey(NamedTuple):
    """One window, and the epoch whose chances it is drawn with."""

    clip: int  # number in the split
    frame: int  # centre frame
    epoch: int
    turn: int = 0  # which of the epoch's showings, for clips that are repeated
    weight: float = 1.0  # in the batch's mean; 0 for a window that only fills the batch up


class TrainOrder(Sampler[list[WindowKey]]):
    """Batches of window keys for one rank; together the ranks see the same global batches as one rank alone.

    A pass yields the batches from ``given`` to the end of ``epoch``; both say where the next pass begins. With
    ``passes_are_whole`` it goes on into the next epoch until it has ``len()`` batches, as a trainer counts on it who
    ends passes by a number of its own. The weights
    of a global batch have a mean of one over all ranks: in the last one of an epoch what fills up has 0, and the others
    more than 1, so that the mean of ``weight * loss`` over the batch is the mean of the loss over its real windows.

    Args:
        clips: the training clips.
        batch_size: windows in a global batch.
        windows_per_clip: windows of one clip in a row, met as nearly as a clip's length allows.
        rank, world_size: this process and how many there are.
        only: show the first so many batches again and again, the same pictures each time; 0 shows all.
        frames, neighbours: as in :class:`~datamodules.groups.WindowGroups`.

    Raises:
        ConfigError: the ranks cannot share a batch evenly, or no clip is long enough for a window.
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
        only: int = 0,
        frames: int = WINDOW_FRAMES,
        neighbours: bool = False,
    ) -> None:
        check_sizes(batch_size, windows_per_clip, world_size)
        self.groups = WindowGroups(frames_of(clips), repeats_of(clips), windows_per_clip, frames, neighbours)
        self.num_windows = self.groups.num_windows
        if not self.num_windows:
            raise ConfigError(f"No training clip has {frames} frames. Give longer clips to `anchor preprocess`.")
        if only:
            self.num_windows = min(self.num_windows, only * batch_size)
        self.stride = 0 if only else 1  # from an epoch to the next
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.epoch, self.given = 0, 0  # where the next pass begins: windows of the epoch that were seen before
        self.before = 0, 0  # the same, one batch earlier
        self.passes_are_whole = False

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.num_windows // self.batch_size)

    def __iter__(self) -> Iterator[list[WindowKey]]:
        epoch, given = self.epoch, self.given
        order = EpochOrder(self.groups, self.seed, epoch)
        for _ in range(len(self)):
            if given >= self.num_windows:
                if not self.passes_are_whole:
                    return
                epoch, given = epoch + self.stride, 0
                order = EpochOrder(self.groups, self.seed, epoch)
            yield self._share(order, given)
            given += self.batch_size

    def advance(self) -> None:
        """One global batch further, into the next epoch where this one is done."""
        self.before = self.epoch, self.given
        self.given += self.batch_size
        if self.given >= self.num_windows:
            self.epoch, self.given = self.epoch + self.stride, 0

    def _share(self, order: EpochOrder, start: int) -> list[WindowKey]:
        size = self.batch_size // self.world_size
        places = np.arange(start + self.rank * size, start + (self.rank + 1) * size)
        real = min(self.batch_size, self.num_windows - start)
        weight = self.batch_size / real
        keys = []
        for begin, stop in _runs(places % self.num_windows):  # what fills up comes from the epoch's beginning
            clips, frames, turns = (column.tolist() for column in order.windows(begin, stop))
            keys += [
                WindowKey(clip, frame, order.epoch, turn)
                for clip, frame, turn in zip(clips, frames, turns, strict=True)
            ]
        weights = [weight if place < self.num_windows else 0.0 for place in places.tolist()]
        return [key._replace(weight=weight) for key, weight in zip(keys, weights, strict=True)]


class ValidationOrder(Sampler[list[WindowKey]]):
    """Batches of the fixed validation windows: evenly spread over each clip, the same for every run and world.

    Every rank gets equally many batches, and each window is in exactly one: batches differ by one window at most.
    ``most`` takes so many windows at most, evenly spread over all of them.

    Raises:
        ConfigError: there are fewer windows than ranks.
    """

    def __init__(
        self,
        clips: Sequence[ClipEntry],
        *,
        batch_size: int,
        windows_per_clip: int,
        rank: int = 0,
        world_size: int = 1,
        frames: int = WINDOW_FRAMES,
        most: int | None = None,
    ) -> None:
        keys = []
        for i, num_frames in enumerate(frames_of(clips).tolist()):
            centres = window_centres(num_frames, frames)
            count = min(windows_per_clip, len(centres))
            places = np.linspace(0, len(centres) - 1, 2 * count + 1)[1::2]
            keys += [WindowKey(i, centres[round(place)], 0) for place in places]
        if most is not None and most < len(keys):
            keys = [keys[round(place)] for place in np.linspace(0, len(keys) - 1, most)]
        if len(keys) < world_size:
            raise ConfigError(
                f"{len(keys)} validation windows are too few for {world_size} cards. Raise "
                "datamodule.val_windows_per_clip, or hold more clips out in `anchor preprocess`."
            )
        steps = -(-len(keys) // (batch_size * world_size))
        cuts = [place * len(keys) // (steps * world_size) for place in range(steps * world_size + 1)]
        self.batches = [keys[start:stop] for start, stop in itertools.pairwise(cuts)][rank::world_size]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[WindowKey]]:
        return iter(self.batches)


def _runs(places: np.ndarray) -> list[tuple[int, int]]:
    """``places`` as stretches ``[start, stop)`` of whole numbers in a row."""
    edges = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    return [(int(places[a]), int(places[b - 1]) + 1) for a, b in itertools.pairwise(edges)]
