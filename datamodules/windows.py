"""Windows out of clips: the dataset that shards and rendered speakers share.

Shape suffixes: B windows, T frames of a window (5), K wrong speeches, C colour, H W pixels, M mel bins, S mel steps.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from anchor.batch import ClipEntry, ClipSource, LipBatch
from anchor.timing import WINDOW_RADIUS, mel_window
from datamodules.chances import Disguise, NegativeMix, disguise_mel, disguise_pictures, draw_negative, draw_reference
from datamodules.order import WindowKey

__all__ = ["WindowDataset"]


class WindowDataset(Dataset[LipBatch]):
    """One batch per item: a list of window keys in, a :class:`~anchor.batch.LipBatch` out.

    Args:
        source: where clips are read; pictures of another size are resized to ``image_size``.
        split: ``"train"`` or ``"val"``.
        image_size: side of the pictures in pixels.
        negatives_per_window: K, how many wrong speeches come with each window.
        disguise: None shows the material as it is.
        drawing: add references and each frame's own mel window, which the expert does not need.
        cache_mb: decoded clips are kept up to this many megabytes in each process.
    """

    def __init__(
        self,
        source: ClipSource,
        split: str,
        *,
        image_size: int,
        seed: int,
        negatives_per_window: int = 0,
        mix: NegativeMix | None = None,
        disguise: Disguise | None = None,
        drawing: bool = True,
        cache_mb: int = 512,
    ) -> None:
        self.source = source
        self.clips: Sequence[ClipEntry] = [clip for clip in source.clips if clip.split == split]
        self.image_size, self.seed = image_size, seed
        self.negatives_per_window = negatives_per_window
        self.mix, self.disguise = mix or NegativeMix(), disguise
        self.drawing = drawing
        self._pictures = _Kept(cache_mb)
        self._mels = _Kept(max(16, cache_mb // 8))

    def __getitem__(self, keys: Sequence[WindowKey]) -> LipBatch:
        windows = [self._window(key) for key in keys]
        batch = {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}
        return LipBatch(**batch)  # type: ignore[typeddict-item]

    def _window(self, key: WindowKey) -> dict[str, np.ndarray]:
        clip = self.clips[key.clip]
        rng = np.random.default_rng([self.seed, key.epoch, key.turn, zlib.crc32(clip.key.encode()), key.frame])
        span = range(key.frame - WINDOW_RADIUS, key.frame + WINDOW_RADIUS + 1)
        reference = [draw_reference(rng, clip.num_frames, key.frame)] if self.drawing else []
        pictures_NCHW = self._read_pictures(key.clip, [*span, *reference])
        wrong = [
            draw_negative(rng, self.clips, key.clip, key.frame, self.mix) for _ in range(self.negatives_per_window)
        ]
        mel_SM = self._read_mel(key.clip)
        # One disguise for all the speech of a window: the right answer must not be told by its noise.
        heard = [key.frame, *(span if self.drawing else [])]
        mels_NMS = np.stack(
            [mel_window(mel_SM, frame) for frame in heard] + [mel_window(self._read_mel(i), f) for i, f in wrong]
        )
        if self.disguise is not None:
            pictures_NCHW = disguise_pictures(rng, pictures_NCHW, self.disguise)
            mels_SM = mels_NMS.transpose(0, 2, 1).reshape(-1, mels_NMS.shape[1])
            mels_NMS = (
                disguise_mel(rng, mels_SM, self.disguise)
                .reshape(len(mels_NMS), -1, mels_NMS.shape[1])
                .transpose(0, 2, 1)
            )
        mels_N1MS = np.ascontiguousarray(mels_NMS[:, None])
        drawn = {"references_BCHW": pictures_NCHW[-1], "mels_BT1MS": mels_N1MS[1 : len(heard)]} if self.drawing else {}
        return {
            **drawn,
            "faces_BTCHW": pictures_NCHW[: len(span)],
            "mel_B1MS": mels_N1MS[0],
            "wrong_mels_BK1MS": mels_N1MS[len(heard) :],
            "is_foreign_BK": np.array([i != key.clip for i, _ in wrong], bool),
            "clip_B": np.int64(key.clip),
            "frame_B": np.int64(key.frame),
        }

    def _read_pictures(self, number: int, frames: Sequence[int]) -> np.ndarray:
        """uint8 (N, C, H, W) of the numbered frames; the whole clip is decoded once where it fits into the cache."""
        clip = self.clips[number]
        kept = self._pictures.get(number)
        if kept is None and self._pictures.holds(clip.num_frames * 3 * self.image_size**2):
            kept = self._pictures.put(number, self._decode(clip, range(clip.num_frames)))
        return self._decode(clip, frames) if kept is None else kept[list(frames)]

    def _decode(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        pictures_NHWC = self.source.read_frames(clip, frames)
        size = self.image_size
        if pictures_NHWC.shape[1] != size:
            how = cv2.INTER_AREA if pictures_NHWC.shape[1] > size else cv2.INTER_CUBIC
            pictures_NHWC = np.stack(
                [cv2.resize(picture, (size, size), interpolation=how) for picture in pictures_NHWC]
            )
        return np.ascontiguousarray(pictures_NHWC.transpose(0, 3, 1, 2))

    def _read_mel(self, number: int) -> np.ndarray:
        kept = self._mels.get(number)
        return self._mels.put(number, self.source.read_mel(self.clips[number])) if kept is None else kept


class _Kept:
    """Arrays kept up to a number of bytes; the longest unused goes first."""

    def __init__(self, megabytes: int) -> None:
        self.limit, self.used = megabytes * 2**20, 0
        self.arrays: OrderedDict[int, np.ndarray] = OrderedDict()

    def holds(self, num_bytes: int) -> bool:
        return num_bytes <= self.limit

    def get(self, number: int) -> np.ndarray | None:
        if number in self.arrays:
            self.arrays.move_to_end(number)
        return self.arrays.get(number)

    def put(self, number: int, array: np.ndarray) -> np.ndarray:
        self.arrays[number] = array
        self.used += array.nbytes
        while self.used > self.limit and len(self.arrays) > 1:
            self.used -= self.arrays.popitem(last=False)[1].nbytes
        return array
