"""Several clip sources as one, whatever the number of their clips: entries are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from anchor.batch import ClipEntry, ClipSource
from anchor.timing import WINDOW_FRAMES

__all__ = ["JoinedClips", "JoinedSources", "frames_of", "repeats_of"]


class JoinedClips(Sequence[ClipEntry]):
    """The clips of several sequences, or some of them.

    A key is that of the clip, behind the number of its sequence where there are several, ``"0/key"``; a location is
    that number and the entry.

    Args:
        parts: the sequences.
        repeats: how often an epoch shows the clips of each.
        chosen: numbers of the clips in all ``parts`` together, int64 (clips,); None takes every one.
        frames: how many frames of each clip in all ``parts`` together are shown, int64 (clips,); None shows them whole.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[ClipEntry]],
        repeats: Sequence[int],
        chosen: np.ndarray | None = None,
        frames: np.ndarray | None = None,
    ) -> None:
        self._parts, self._repeats, self._frames = parts, repeats, frames
        self._ends = np.cumsum([len(part) for part in parts])
        self._chosen = np.arange(self._ends[-1]) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, number: int) -> ClipEntry: ...
    @overload
    def __getitem__(self, number: slice) -> list[ClipEntry]: ...
    def __getitem__(self, number: int | slice) -> ClipEntry | list[ClipEntry]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        place = int(self._chosen[number])
        part = int(np.searchsorted(self._ends, place, side="right"))
        entry = self._parts[part][place - (int(self._ends[part - 1]) if part else 0)]
        key = entry.key if len(self._parts) == 1 else f"{part}/{entry.key}"
        num_frames = entry.num_frames if self._frames is None else int(self._frames[place])
        return replace(entry, key=key, num_frames=num_frames, location=(part, entry), repeat=self._repeats[part])

    @property
    def num_frames(self) -> np.ndarray:
        """Frames of each clip, int64 (clips,)."""
        whole = np.concatenate([frames_of(part) for part in self._parts]) if self._frames is None else self._frames
        return whole[self._chosen]

    @property
    def repeats(self) -> np.ndarray:
        """How often an epoch shows each clip, int64 (clips,)."""
        return np.repeat(self._repeats, [len(part) for part in self._parts])[self._chosen]

    def select(self, split: str) -> JoinedClips:
        """The clips of one split, in their order."""
        is_in = np.concatenate([_is_in(part, split) for part in self._parts])
        return JoinedClips(self._parts, self._repeats, self._chosen[is_in[self._chosen]], self._frames)


class JoinedSources:
    """Several clip sources as one; ``identity`` tells this joining from any other.

    Args:
        sources: what is joined.
        repeats: how often an epoch shows the clips of each.
        material_frames: of each source only the first so many frames of training are shown; None shows all. Clips that
            are held out stay whole.
    """

    def __init__(
        self, sources: Sequence[ClipSource], repeats: Sequence[int], material_frames: int | None = None
    ) -> None:
        self.sources = sources
        parts = [source.clips for source in sources]
        self.clips = JoinedClips(parts, repeats)
        self.identity = ",".join(
            f"{getattr(source, 'identity', '')[:16]}x{repeat}" for source, repeat in zip(sources, repeats, strict=True)
        )
        if material_frames is not None:
            frames = np.concatenate([_first_frames(part, material_frames) for part in parts])
            chosen = np.flatnonzero(frames >= WINDOW_FRAMES)
            self.clips = JoinedClips(parts, repeats, chosen, frames)
            self.identity += f":{material_frames}"

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        """uint8 RGB crops (N, H, W, 3) of the numbered frames."""
        return self.sources[clip.location[0]].read_frames(clip.location[1], frames)

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        """float32 log-mel of the whole clip (steps, 80)."""
        return self.sources[clip.location[0]].read_mel(clip.location[1])

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        """float32 mono waveform at 16 kHz in [-1, 1]."""
        return self.sources[clip.location[0]].read_audio(clip.location[1])

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        """The clip's description."""
        return self.sources[clip.location[0]].read_meta(clip.location[1])


def frames_of(clips: Sequence[ClipEntry]) -> np.ndarray:
    """Frames of each clip, int64 (clips,): out of the column where there is one."""
    return _column(clips, "num_frames", "num_frames")


def repeats_of(clips: Sequence[ClipEntry]) -> np.ndarray:
    """How often an epoch shows each clip, int64 (clips,)."""
    return _column(clips, "repeats", "repeat")


def _first_frames(clips: Sequence[ClipEntry], material_frames: int) -> np.ndarray:
    """Frames of each clip, int64 (clips,), of which those that train together have ``material_frames`` at most."""
    whole, trains = frames_of(clips), _is_in(clips, "train")
    before = np.cumsum(np.where(trains, whole, 0)) - whole
    return np.where(trains, np.clip(material_frames - before, 0, whole), whole)


def _column(clips: Sequence[ClipEntry], column: str, attribute: str) -> np.ndarray:
    held = getattr(clips, column, None)
    if held is None:
        held = np.fromiter((getattr(clip, attribute) for clip in clips), np.int64, len(clips))
    return np.asarray(held, np.int64)


def _is_in(clips: Sequence[ClipEntry], split: str) -> np.ndarray:
    numbers, names = getattr(clips, "split_numbers", None), getattr(clips, "splits", ())
    if numbers is None:
        return np.fromiter((clip.split == split for clip in clips), bool, len(clips))
    return np.isin(numbers, [i for i, name in enumerate(names) if name == split])
