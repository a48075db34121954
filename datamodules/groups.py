"""Which windows an epoch has, and where each stands in its order: a pure function of (seed, epoch).

Windows come in groups of one clip whose members lie at least five frames apart, so that the speech of any of them is a
fair wrong answer for the others. Groups are numbered clip by clip and shown in the order of a keyed permutation; only a
few bytes a clip are kept, whatever the number of windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anchor.errors import ConfigError
from anchor.timing import WINDOW_FRAMES
from datamodules.shuffle import make_key, permute

__all__ = ["EpochOrder", "WindowGroups", "Windows", "check_sizes"]

BLOCK = 4096  # groups that are looked at together
ORDER, WITHIN = 1, 2  # what a key is for


class Windows(NamedTuple):
    """Windows as int64 columns of equal length."""

    clip: np.ndarray  # number in the split
    frame: np.ndarray  # centre frame
    turn: np.ndarray  # which of the epoch's showings

    def part(self, start: int, stop: int) -> Windows:
        """Rows ``[start, stop)``."""
        return Windows(*(column[start:stop] for column in self))


class WindowGroups:
    """The groups of all clips.

    Args:
        num_frames: frames of each clip, int (clips,).
        repeats: how often an epoch shows each clip, int (clips,).
        size: windows of a group, met as nearly as a clip's length allows.
        frames: of a window. The members of a group stand five frames apart whatever it is: such speech is wrong speech.
        neighbours: members follow each other in the clip, five frames apart, instead of being spread over all of it.
    """

    def __init__(
        self,
        num_frames: np.ndarray,
        repeats: np.ndarray,
        size: int,
        frames: int = WINDOW_FRAMES,
        neighbours: bool = False,
    ) -> None:
        self.size, self.first, self.neighbours = size, frames // 2, neighbours
        self.num_centres = np.maximum(np.asarray(num_frames, np.int64) - frames + 1, 0)
        long, short, num_long = self._split(self.num_centres)
        self.per_turn = num_long * long + (WINDOW_FRAMES - num_long) * short
        self.ends = np.cumsum(self.per_turn * repeats)
        self.num_groups = int(self.ends[-1]) if len(self.ends) else 0
        self.num_windows = int((self.num_centres * repeats).sum())

    def _split(self, num_centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Groups of a residue class with one window more, of one with one less, and how many classes have more.

        Windows of equal remainder modulo five stand five frames apart or more; each of the five classes is cut into
        equal groups.
        """
        short, num_long = np.divmod(num_centres, WINDOW_FRAMES)
        return self._parts(short + 1), self._parts(short), num_long

    def _parts(self, members: np.ndarray) -> np.ndarray:
        nearest = (2 * members + self.size) // (2 * self.size)
        return np.where(members > 0, np.maximum(1, nearest), 0)

    def expand(self, groups: np.ndarray, key: tuple[int, int]) -> tuple[Windows, np.ndarray]:
        """The windows of the numbered groups, one group after another, and how many each has.

        ``key`` is (seed, epoch): which windows of a class meet in a group changes with the epoch.
        """
        clip, turn, residue, part, parts, members = self._locate(groups)
        counts = -(-(members - part) // parts)
        row = np.repeat(np.arange(len(groups)), counts)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = part[row] + nth * parts[row]
        if self.neighbours:  # a ring of the class's members, cut into stretches; where it is cut changes with the epoch
            begin = part * (members // parts) + np.minimum(part, members % parts)
            begin = begin + permute(0, members, make_key(*key, WITHIN, clip, turn, residue))
            index = (begin[row] + nth) % members[row]
        elif self.size > 1:  # else every window is a group of its own, and the order of groups says all
            index = permute(index, members[row], make_key(*key, WITHIN, clip, turn, residue)[row])
        frame = self.first + residue[row] + WINDOW_FRAMES * index
        return Windows(clip[row], frame, turn[row]), counts

    def count(self, groups: np.ndarray) -> int:
        """How many windows the numbered groups have together."""
        _, _, _, part, parts, members = self._locate(groups)
        return int((-(-(members - part) // parts)).sum())

    def _locate(self, groups: np.ndarray) -> tuple[np.ndarray, ...]:
        """Clip, turn, residue class, part of the class, its parts and its members, of each group."""
        clip = np.searchsorted(self.ends, groups, side="right")
        begin = np.where(clip > 0, self.ends[clip - 1], 0)
        turn, place = np.divmod(groups - begin, self.per_turn[clip])
        long, short, num_long = self._split(self.num_centres[clip])
        in_long = place < num_long * long
        parts = np.where(in_long, long, short)
        rest = np.where(in_long, place, place - num_long * long)
        residue = np.where(in_long, 0, num_long) + rest // parts
        part = rest % parts
        members = self.num_centres[clip] // WINDOW_FRAMES + in_long
        return clip, turn, residue, part, parts, members


class EpochOrder:
    """The windows of one epoch in their order, any stretch of it at once."""

    def __init__(self, groups: WindowGroups, seed: int, epoch: int) -> None:
        self.groups, self.epoch = groups, epoch
        self._seed = seed
        self._key = make_key(seed, epoch, ORDER)
        self._ends = self._find_ends()
        self._block: tuple[int, Windows] | None = None

    def windows(self, start: int, stop: int) -> Windows:
        """Windows ``[start, stop)`` of the epoch, ``stop`` at most ``groups.num_windows``."""
        pieces = []
        while start < stop:
            number = int(np.searchsorted(self._ends, start, side="right"))
            begin = int(self._ends[number - 1]) if number else 0
            end = min(stop, int(self._ends[number]))
            pieces.append(self._expand_block(number).part(start - begin, end - begin))
            start = end
        return Windows(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))

    def _find_ends(self) -> np.ndarray:
        """How many windows lie before the end of each block."""
        total = self.groups.num_groups
        if self.groups.size == 1:
            return np.minimum(np.arange(BLOCK, total + BLOCK, BLOCK), total)
        return np.cumsum([self.groups.count(self._block_groups(number)) for number in range(-(-total // BLOCK))])

    def _block_groups(self, number: int) -> np.ndarray:
        places = np.arange(number * BLOCK, min((number + 1) * BLOCK, self.groups.num_groups))
        return permute(places, self.groups.num_groups, self._key)

    def _expand_block(self, number: int) -> Windows:
        if self._block is None or self._block[0] != number:
            windows, _ = self.groups.expand(self._block_groups(number), (self._seed, self.epoch))
            self._block = number, windows
        return self._block[1]


def check_sizes(batch_size: int, windows_per_clip: int, world_size: int) -> None:
    """See that ``world_size`` ranks can share a global batch evenly.

    Raises:
        ConfigError: they cannot; names the nearest numbers that can.
    """
    for name, value in (("batch_size", batch_size), ("windows_per_clip", windows_per_clip)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"datamodule.{name}={value} is no number of windows. Give 1 or more.")
    if batch_size % world_size:
        fitting = [count for count in range(1, batch_size + 1) if batch_size % count == 0]
        near = [*[count for count in fitting if count < world_size][-1:], *[c for c in fitting if c > world_size][:1]]
        lower, upper = batch_size // world_size * world_size, -(-batch_size // world_size) * world_size
        sizes = " or ".join(str(size) for size in (lower, upper) if size)
        raise ConfigError(
            f"{world_size} cards cannot share a global batch of {batch_size} windows evenly. "
            f"Use {' or '.join(map(str, near))} cards, or datamodule.batch_size={sizes}."
        )
