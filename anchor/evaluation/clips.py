"""Held-out clips, as evaluation looks at them.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB), M mel bins; mel_SM: S mel steps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anchor.batch import ClipEntry, ClipSource
from anchor.errors import ShardError
from anchor.timing import FPS, MEL_STEPS_PER_SECOND, WINDOW_FRAMES

__all__ = ["ClipShelf", "EvaluationClip", "Pair", "choose_clips", "pair_up"]

MIN_FRAMES = 4 * WINDOW_FRAMES  # 0.8 s: less has no speech of another moment to compare with


@dataclass(frozen=True)
class EvaluationClip:
    """One clip in memory, at most as long as was asked for."""

    key: str
    speaker: str
    faces_TSSC: np.ndarray  # uint8 RGB
    mel_SM: np.ndarray  # float32
    opening_T: np.ndarray | None  # the true opening of each frame, if known

    def __len__(self) -> int:
        return len(self.faces_TSSC)


@dataclass(frozen=True)
class Pair:
    """A face and the speech it is dubbed with; ``kind`` says how strange they are to each other."""

    face: ClipEntry
    speech: ClipEntry
    kind: str  # "other speaker", "other clip", or "same clip, later": the best that the split offers
    shift: int = 0  # frames by which the speech is moved, for the last kind


class ClipShelf:
    """Reads clips at one picture size; the two most recent stay."""

    def __init__(self, source: ClipSource, image_size: int, max_frames: int) -> None:
        self.source, self.image_size, self.max_frames = source, image_size, max_frames
        self._kept: OrderedDict[str, EvaluationClip] = OrderedDict()

    def read(self, entry: ClipEntry) -> EvaluationClip:
        """The clip of ``entry``, cut to ``max_frames``."""
        if entry.key not in self._kept:
            self._kept[entry.key] = self._load(entry)
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return self._kept[entry.key]

    def _load(self, entry: ClipEntry) -> EvaluationClip:
        count = min(entry.num_frames, self.max_frames)
        opening_T = read_opening(self.source, entry)
        return EvaluationClip(
            key=entry.key,
            speaker=entry.speaker,
            faces_TSSC=resized(self.source.read_frames(entry, range(count)), self.image_size),
            mel_SM=self.source.read_mel(entry)[: count * MEL_STEPS_PER_SECOND // FPS + 1],
            opening_T=None if opening_T is None else opening_T[:count],
        )


def read_opening(source: ClipSource, entry: ClipEntry) -> np.ndarray | None:
    """The true opening of the mouth per frame, float64 (num_frames,); None where nobody knows it."""
    truth = source.read_meta(entry).get("truth") or {}
    opening_T = truth.get("opening") if isinstance(truth, dict) else None
    if opening_T is None or len(opening_T) < entry.num_frames:
        return None
    return np.asarray(opening_T[: entry.num_frames], np.float64)


def resized(pictures_NHWC: np.ndarray, size: int) -> np.ndarray:
    """Square uint8 pictures at ``size``, resampled as the training windows are."""
    if pictures_NHWC.shape[1] == size:
        return pictures_NHWC
    how = cv2.INTER_AREA if pictures_NHWC.shape[1] > size else cv2.INTER_CUBIC
    return np.stack([cv2.resize(picture, (size, size), interpolation=how) for picture in pictures_NHWC])


def choose_clips(source: ClipSource, split: str, max_clips: int, seed: int) -> list[ClipEntry]:
    """At most ``max_clips`` clips of ``split``: the same for the same seed, speakers taken in turn.

    Raises:
        ShardError: the split has no clip that is long enough.
    """
    usable = [clip for clip in source.clips if clip.split == split and clip.num_frames >= MIN_FRAMES]
    if not usable:
        found = sum(clip.split == split for clip in source.clips)
        splits = ", ".join(sorted({clip.split for clip in source.clips})) or "none"
        raise ShardError(
            f"split={split} has {found} clips (splits here: {splits}), and none of the {MIN_FRAMES} frames that "
            "scoring needs. Choose another split, or run `anchor preprocess` with longer clips."
        )
    rng = np.random.default_rng(seed)
    by_speaker: dict[str, list[ClipEntry]] = {}
    for number in rng.permutation(len(usable)):
        by_speaker.setdefault(usable[number].speaker, []).append(usable[number])
    chosen: list[ClipEntry] = []
    for turn in range(max(map(len, by_speaker.values()))):
        chosen += [clips[turn] for clips in by_speaker.values() if turn < len(clips)]
    return chosen[:max_clips]


def pair_up(clips: Sequence[ClipEntry], max_frames: int) -> list[Pair]:
    """For every face a speech that is not its own, as foreign as the clips allow; each speech is used about once.

    ``max_frames`` is where clips are cut: a lone clip is paired with the second half of what is left.
    """
    pairs = []
    for number, face in enumerate(clips):
        others = [clips[(number + step) % len(clips)] for step in range(1, len(clips))]
        strangers = [clip for clip in others if clip.speaker != face.speaker]
        if strangers:
            pairs.append(Pair(face, strangers[0], "other speaker"))
        elif others:
            pairs.append(Pair(face, others[0], "other clip"))
        else:
            pairs.append(Pair(face, face, "same clip, later", min(face.num_frames, max_frames) // 2))
    return pairs
