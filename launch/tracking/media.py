"""How a drawn clip is shown: a strip of frames, and three panels side by side that move and sound.

Shape suffixes: N frames, H W pixels, C colour (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ROWS", "DrawnClip", "clip_frames", "draw_strip", "save_clip"]

ROWS = ("real", "reference", "output")  # from top to bottom in a strip, from left to right in a clip
COLUMNS = 8  # frames in a strip
MARGIN_PX = 64  # for the words beside a strip
SCALE_TO_PX = 192  # smaller faces are shown larger in a clip, by a whole number


class DrawnClip(NamedTuple):
    """A fixed piece of a validation clip, as it is and as the network draws it."""

    key: str
    real_NHWC: np.ndarray  # uint8
    reference_HWC: np.ndarray  # uint8, the picture that the network was shown
    output_NHWC: np.ndarray  # uint8
    audio: np.ndarray  # float32 mono at 16 kHz, of the same length

    def rows(self, number: int) -> list[np.ndarray]:
        """The pictures of frame ``number`` in the order of ``ROWS``."""
        return [self.real_NHWC[number], self.reference_HWC, self.output_NHWC[number]]


def draw_strip(clip: DrawnClip) -> Any:
    """A PIL picture: frames evenly spread over the clip from left to right, and ``ROWS`` from top to bottom."""
    from PIL import Image, ImageDraw

    chosen = np.linspace(0, len(clip.real_NHWC) - 1, min(COLUMNS, len(clip.real_NHWC))).round().astype(int)
    grid = np.concatenate([np.concatenate(clip.rows(number), 0) for number in chosen], 1)
    height = clip.reference_HWC.shape[0]
    picture = Image.new("RGB", (MARGIN_PX + grid.shape[1], grid.shape[0]), "white")
    picture.paste(Image.fromarray(grid), (MARGIN_PX, 0))
    pen = ImageDraw.Draw(picture)
    for row, word in enumerate(ROWS):
        pen.text((4, row * height + height // 2 - 6), word, fill="black")
    return picture


def clip_frames(clip: DrawnClip) -> Iterator[np.ndarray]:
    """The frames of the moving picture, ``ROWS`` side by side."""
    times = max(1, SCALE_TO_PX // clip.reference_HWC.shape[0])
    for number in range(len(clip.real_NHWC)):
        yield np.concatenate(clip.rows(number), 1).repeat(times, 0).repeat(times, 1)


def save_clip(clip: DrawnClip, path: Path) -> None:
    """Write the clip with its sound as an mp4.

    Raises:
        MediaError: it cannot be written.
    """
    from anchor.media.writer import write_video

    write_video(path, clip_frames(clip), audio=clip.audio, threads=1)
