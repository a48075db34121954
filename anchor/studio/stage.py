"""The picture of a news item: the anchor alone, beside a picture, or in a corner of it, with a title.

Shape suffixes: H W pixels, C colour.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from anchor.errors import ConfigError
from anchor.studio.script import Item, Script
from anchor.studio.titles import draw_plate
from anchor.timing import FPS

__all__ = ["Stage", "check_pictures"]

MOST_PIXELS = 50_000_000
BESIDE, GAP = 0.38, 0.025  # of the width: the anchor's column; of the height: what lies around pictures
INSET = 0.36  # of the height: the anchor in the corner
DISSOLVE = 8  # frames from one layout to the next
TITLE_SIZE, TITLE_BOTTOM = 0.05, 0.8  # of the height; subtitles stand below


class Stage:
    """Puts frames of the anchor, uint8 RGB (h, w, 3), into frames of the script's size.

    Args:
        script: what is to be seen.
        starts_s: when each item begins, seconds, the first one at 0.
        end_s: when the last one ends.
        face: (x, y) of the anchor's face in its frame, in shares of width and height: what stays in a narrow column.
        font: for the titles, or None.
    """

    def __init__(
        self, script: Script, starts_s: Sequence[float], end_s: float, face: tuple[float, float], font: Path | None
    ) -> None:
        assert script.size is not None
        self._items, self._size, self._face, self._font = script.items, script.size, face, font
        self._edges = [round(at * FPS) for at in (*starts_s, end_s)]
        self._colour = np.array([int(script.background[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)

    def frames(self, anchors: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """One frame, uint8 RGB (H, W, 3), for each of the anchor's."""
        before, shown, at, since = None, None, 0, DISSOLVE
        last = (0, 0)
        for number, anchor_HWC in enumerate(anchors):
            while at + 1 < len(self._items) and number >= self._edges[at + 1]:
                at += 1
            item = self._items[at]
            slide = self._slide(item, number, at)
            since = 0 if (at, slide) != last else since + 1
            if since == 0:
                before = shown
            last = (at, slide)
            shown = self._compose(item, slide, anchor_HWC)
            if before is not None and since < DISSOLVE:
                share = (since + 1) / (DISSOLVE + 1)
                yield cv2.addWeighted(shown, share, before, 1 - share, 0)
            else:
                yield shown

    def _slide(self, item: Item, number: int, at: int) -> int:
        if len(item.pictures) < 2:
            return 0
        begin, end = self._edges[at], max(self._edges[at] + 1, self._edges[at + 1])
        return min(len(item.pictures) - 1, (number - begin) * len(item.pictures) // (end - begin))

    def _compose(self, item: Item, slide: int, anchor_HWC: np.ndarray) -> np.ndarray:
        width, height = self._size
        if item.layout == "full":
            picture_HWC = self._backdrop(anchor_HWC)
            _put(picture_HWC, _fit(anchor_HWC, width, height), width // 2, height // 2)
        else:
            picture_HWC = self._still(item.pictures[slide], item.layout).copy()
            if item.layout == "beside":
                column = round(BESIDE * width)
                picture_HWC[:, :column] = self._cover(anchor_HWC, column, height)
            elif item.layout == "inset":
                side = round(INSET * height)
                small = self._cover(anchor_HWC, side, side)
                gap = max(2, round(GAP * height))
                top, left = height - gap - side, width - gap - side
                picture_HWC[top - 2 : top + side + 2, left - 2 : left + side + 2] = 255  # a frame
                picture_HWC[top : top + side, left : left + side] = small
        if item.title:
            left = round(BESIDE * width) if item.layout == "beside" else 0
            draw_plate(picture_HWC[:, left:], item.title, round(TITLE_SIZE * height), self._font, TITLE_BOTTOM)
        return picture_HWC

    def _backdrop(self, anchor_HWC: np.ndarray) -> np.ndarray:
        """What surrounds an anchor of another shape: its first picture, large, blurred and dim."""
        if self._blurred is None:
            small = cv2.GaussianBlur(cv2.resize(anchor_HWC, (32, 32), interpolation=cv2.INTER_AREA), (0, 0), 4)
            large = cv2.resize(small, self._size, interpolation=cv2.INTER_CUBIC)
            self._blurred = cv2.addWeighted(large, 0.45, np.full_like(large, self._colour), 0.55, 0)
        return self._blurred.copy()

    _blurred: np.ndarray | None = None

    @functools.lru_cache(maxsize=4)  # noqa: B019  # a stage lives as long as its video
    def _still(self, path: Path, layout: str) -> np.ndarray:
        """The canvas with a picture: whole beside the anchor, or filling all of it."""
        width, height = self._size
        canvas_HWC = np.empty((height, width, 3), np.uint8)
        canvas_HWC[:] = self._colour
        picture_HWC = read_picture(path, tuple(int(part) for part in self._colour))
        if layout == "beside":
            left, gap = round(BESIDE * width), round(GAP * height)
            fitted = _fit(picture_HWC, width - left - 2 * gap, height - 2 * gap)
            _put(canvas_HWC, fitted, (left + width) // 2, height // 2)
        else:
            canvas_HWC[:] = _cover(picture_HWC, width, height, (0.5, 0.5))
        return canvas_HWC

    def _cover(self, anchor_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
        return _cover(anchor_HWC, width, height, self._face)


def check_pictures(script: Script) -> None:
    """Read every picture once, before any work is done.

    Raises:
        ConfigError: one of them is no picture, or too large; says which.
    """
    for item in script.items:
        for path in item.pictures:
            try:
                read_picture(path, (0, 0, 0))
            except ConfigError as error:
                raise ConfigError(f"item {item.number}: {error}") from None


def read_picture(path: Path, under: tuple[int, ...]) -> np.ndarray:
    """uint8 RGB (H, W, 3), upright; where it is transparent, ``under`` is seen.

    Raises:
        ConfigError: it is no picture, or has too many pixels.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ConfigError(
                    f"{path} has {opened.width} x {opened.height} pixels, and {MOST_PIXELS} are read. Make it smaller."
                )
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is no picture that can be read. Give a PNG, JPEG or WebP file.") from None
    canvas = Image.new("RGBA", picture.size, (*under, 255))
    return np.asarray(Image.alpha_composite(canvas, picture).convert("RGB"))


def _fit(picture_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
    """All of the picture, as large as it fits into width x height."""
    scale = min(width / picture_HWC.shape[1], height / picture_HWC.shape[0])
    size = (max(1, round(picture_HWC.shape[1] * scale)), max(1, round(picture_HWC.shape[0] * scale)))
    return _resize(picture_HWC, size)


def _cover(picture_HWC: np.ndarray, width: int, height: int, centre: tuple[float, float]) -> np.ndarray:
    """The part around ``centre`` that fills width x height."""
    rows, columns = picture_HWC.shape[:2]
    scale = max(width / columns, height / rows)
    take_w, take_h = min(columns, round(width / scale)), min(rows, round(height / scale))
    left = int(np.clip(round(centre[0] * columns - take_w / 2), 0, columns - take_w))
    top = int(np.clip(round(centre[1] * rows - take_h / 2), 0, rows - take_h))
    return _resize(picture_HWC[top : top + take_h, left : left + take_w], (width, height))


def _resize(picture_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] * size[1] < picture_HWC.shape[0] * picture_HWC.shape[1]
    return cv2.resize(picture_HWC, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _put(canvas_HWC: np.ndarray, picture_HWC: np.ndarray, x: int, y: int) -> None:
    """Lay a picture into a canvas, its middle at (x, y)."""
    rows, columns = picture_HWC.shape[:2]
    top, left = y - rows // 2, x - columns // 2
    canvas_HWC[top : top + rows, left : left + columns] = picture_HWC
