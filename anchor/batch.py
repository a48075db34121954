"""What datamodules hand over and modules learn from; the one thing the two sides share.

Shape suffixes: B windows, T frames of a window (5, or as many as the expert sees), K wrong speeches, C colour (RGB),
H W pixels, M mel bins (80), S mel steps (16 of a frame's own window, ``mel_steps(T)`` of the expert's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class DrawingBatch(TypedDict, total=False):
    """What only the stages that draw need; the expert's batches come without it."""

    references_BCHW: Tensor  # uint8 RGB crops of the same clip, away from the window, one behind the other
    mels_BT1MS: Tensor  # float32, each frame's own mel window


class LipBatch(DrawingBatch):
    """Windows of T frames with their speech. Pictures travel as bytes and are scaled on the device."""

    faces_BTCHW: Tensor  # uint8 RGB crops, [0, 255]
    mel_B1MS: Tensor  # float32, the mel window of all T frames: what the expert hears
    wrong_mels_BK1MS: Tensor  # float32, speech that does not belong to the window; K may be 0
    is_foreign_BK: Tensor  # bool, the wrong speech comes from another clip
    clip_B: Tensor  # int64, number of the clip in its split
    frame_B: Tensor  # int64, number of the centre frame
    weight_B: Tensor  # float32, in the mean of the loss: 1, or 0 for a window that only fills the last batch up


@dataclass(frozen=True)
class ClipEntry:
    """One clip of a source: where it stands and how long it is."""

    key: str  # unique in its set
    speaker: str
    split: str  # "train" or "val"
    num_frames: int  # at 25 fps
    location: Any = field(default=None, compare=False, repr=False)  # the source's own
    repeat: int = 1  # how often an epoch of training shows it


class ClipSource(Protocol):
    """Anything that holds clips: a set of shards, or rendered speakers in memory."""

    @property
    def clips(self) -> Sequence[ClipEntry]:
        """Every clip of every split."""
        ...

    def read_frames(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        """uint8 RGB crops (N, H, W, 3) of the numbered frames."""
        ...

    def read_mel(self, clip: ClipEntry) -> np.ndarray:
        """float32 log-mel of the whole clip (steps, 80)."""
        ...

    def read_audio(self, clip: ClipEntry) -> np.ndarray:
        """float32 mono waveform at 16 kHz in [-1, 1]."""
        ...

    def read_meta(self, clip: ClipEntry) -> dict[str, Any]:
        """The clip's description; ``meta["truth"]["opening"]`` holds the mouth opening per frame where it is known."""
        ...


def select(clips: Sequence[ClipEntry], split: str) -> Sequence[ClipEntry]:
    """The clips of one split, in their order; a sequence that makes its entries when they are asked for may help."""
    own = getattr(clips, "select", None)
    return own(split) if own is not None else [clip for clip in clips if clip.split == split]
