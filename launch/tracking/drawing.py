"""Draw fixed pieces of validation clips with the network in training, for people to look at and listen to.

Shape suffixes: B clips (1), T N frames, C colour, H W pixels, h = H // 2, M mel bins, S mel steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import cv2
import numpy as np
import torch

from anchor.batch import ClipEntry, ClipSource, LipBatch, select
from anchor.models import LipGenerator
from anchor.ops.images import to_bytes
from anchor.timing import FPS, SAMPLES_PER_FRAME, mel_window
from launch.tracking.media import DrawnClip
from lightning_modules.common import draw_mouths

__all__ = ["FixedClips"]

CHUNK_FRAMES = 25  # drawn at once


class FixedClips:
    """The first clips of the validation split, their beginnings: the same for all runs on the same data.

    Args:
        source: where they are read, once.
        clips: how many, each of another speaker as long as there are some.
        seconds: how long each may be.
    """

    def __init__(self, source: ClipSource, image_size: int, clips: int, seconds: float) -> None:
        self.image_size = image_size
        length = max(1, round(seconds * FPS))
        self._read = [self._load(source, clip, length) for clip in _choose(select(source.clips, "val"), clips)]

    def draw(self, net: LipGenerator, device: torch.device, context: AbstractContextManager[Any]) -> list[DrawnClip]:
        """Every clip as ``net`` (in eval mode) draws it now; ``context`` is the trainer's precision."""
        drawn, references = [], getattr(net, "num_references", 1)  # each of them the same picture
        with torch.no_grad(), context:
            for clip, mels_N1MS in self._read:
                output_NHWC = clip.real_NHWC.copy()
                for start in range(0, len(output_NHWC), CHUNK_FRAMES):
                    part = slice(start, start + CHUNK_FRAMES)
                    mouths_BTChW, _ = draw_mouths(net, _batch(clip, mels_N1MS, part, device, references))
                    mouths_NhWC = to_bytes(mouths_BTChW[0]).permute(0, 2, 3, 1).cpu().numpy()
                    output_NHWC[part, -mouths_NhWC.shape[1] :] = mouths_NhWC
                drawn.append(clip._replace(output_NHWC=output_NHWC))
        return drawn

    def _load(self, source: ClipSource, clip: ClipEntry, length: int) -> tuple[DrawnClip, np.ndarray]:
        count = min(length, clip.num_frames)
        # The reference stands as far behind the piece as the clip allows: the network must not be shown the answer.
        pictures = source.read_frames(clip, [*range(count), clip.num_frames - 1])
        size = (self.image_size, self.image_size)
        how = cv2.INTER_AREA if pictures.shape[1] > self.image_size else cv2.INTER_CUBIC
        faces_NHWC = np.stack([cv2.resize(picture, size, interpolation=how) for picture in pictures])
        mel_SM = source.read_mel(clip)
        mels_N1MS = np.stack([mel_window(mel_SM, frame) for frame in range(count)])[:, None]
        audio = source.read_audio(clip)[: count * SAMPLES_PER_FRAME]
        return DrawnClip(clip.key, faces_NHWC[:-1], faces_NHWC[-1], faces_NHWC[:-1], audio), mels_N1MS


def _choose(clips: Sequence[ClipEntry], count: int) -> list[ClipEntry]:
    first: dict[str, ClipEntry] = {}
    for clip in clips:
        first.setdefault(clip.speaker, clip)
        if len(first) == count:
            break
    chosen = list(first.values())[:count]
    keys = {clip.key for clip in chosen}
    for clip in clips:
        if len(chosen) >= count:
            break
        if clip.key not in keys:
            chosen.append(clip)
    return chosen


def _batch(clip: DrawnClip, mels_N1MS: np.ndarray, part: slice, device: torch.device, references: int) -> LipBatch:
    faces_TCHW = torch.from_numpy(np.ascontiguousarray(clip.real_NHWC[part].transpose(0, 3, 1, 2)))
    reference_CHW = torch.from_numpy(np.ascontiguousarray(clip.reference_HWC.transpose(2, 0, 1)))
    batch = {
        "faces_BTCHW": faces_TCHW[None].to(device),
        "references_BCHW": reference_CHW.repeat(references, 1, 1)[None].to(device),
        "mels_BT1MS": torch.from_numpy(mels_N1MS[part])[None].to(device),
    }
    return cast(LipBatch, batch)
