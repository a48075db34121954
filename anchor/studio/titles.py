"""Words on pictures: the label of synthetic media, and subtitles, as SRT and drawn."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anchor.errors import ConfigError
from anchor.timing import FPS

__all__ = ["LABEL", "Cue", "check_font", "draw_plate", "draw_titles", "make_cues", "make_srt"]

LABEL = "AI-generated"
LINE = 42  # columns of a line; a Chinese character takes two
FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/System/Library/Fonts/PingFang.ttc", "C:/Windows/Fonts/msyh.ttc",
)  # fmt: skip
PLAIN_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]")


@dataclass(frozen=True)
class Cue:
    """One or two lines, shown from ``start_s`` to ``stop_s``."""

    start_s: float
    stop_s: float
    lines: tuple[str, ...]


def make_cues(texts: Sequence[str], times: Sequence[tuple[float, float]]) -> list[Cue]:
    """Subtitles: at most two lines of 42 columns. A longer sentence is several, and they share its time."""
    cues = []
    for text, (start_s, stop_s) in zip(texts, times, strict=True):
        lines = _wrap(text)
        groups = [tuple(lines[i : i + 2]) for i in range(0, len(lines), 2)]
        widths = np.cumsum([0, *(sum(map(_width, group)) for group in groups)])
        edges = start_s + (stop_s - start_s) * widths / widths[-1]
        cues += [Cue(float(a), float(b), group) for group, a, b in zip(groups, edges[:-1], edges[1:], strict=True)]
    return cues


def make_srt(cues: Iterable[Cue]) -> str:
    """``cues`` as SubRip."""
    blocks = (
        f"{number}\n{_stamp(cue.start_s)} --> {_stamp(cue.stop_s)}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def draw_titles(
    frames: Iterable[np.ndarray], label: str, cues: Sequence[Cue] = (), font: Path | None = None
) -> Iterator[np.ndarray]:
    """``frames`` with ``label`` at the upper left and the cue of each moment below.

    Raises:
        ConfigError: there is no font for its letters.
    """
    _load(font, 12, label + "".join(line for cue in cues for line in cue.lines))  # said before any work
    at = 0
    for number, frame in enumerate(frames):
        picture = frame.copy()
        height, width = picture.shape[:2]
        if label:
            size = max(10, round(0.032 * min(height, width * 1.2)))
            _blend(picture, _plate((label,), size, font, width), None)
        moment = (number + 0.5) / FPS
        while at < len(cues) and cues[at].stop_s <= moment:
            at += 1
        if at < len(cues) and cues[at].start_s <= moment:
            size = max(10, round(min(0.045 * height, 1.6 * width / LINE)))
            _blend(picture, _plate(cues[at].lines, size, font, width), 0.94)
        yield picture


def check_font(font: Path | None, text: str) -> None:
    """Raise a ``ConfigError`` unless there is a font for the letters of ``text``."""
    _load(font, 12, text)


def draw_plate(picture: np.ndarray, text: str, size: int, font: Path | None, bottom: float) -> None:
    """Lay ``text`` into ``picture``, centred, its lower edge at a share of the height, made smaller until it fits."""
    width = picture.shape[1]
    while size > 10 and _load(font, size, text).getlength(text) + size > width:
        size -= 1
    _blend(picture, _plate((text,), size, font, width), bottom)


@functools.lru_cache(maxsize=8)
def _plate(lines: tuple[str, ...], size: int, font: Path | None, width: int) -> np.ndarray:
    """uint8 (h, w, 4): white letters on a dark, translucent plate."""
    letters = _load(font, size, "".join(lines))
    pad = size // 3
    lengths = [letters.getlength(line) for line in lines]
    shape = (min(width, round(max(lengths)) + 2 * pad), round(1.35 * size * len(lines)) + pad)
    plate = Image.new("RGBA", shape, (0, 0, 0, 140))
    pen = ImageDraw.Draw(plate)
    for row, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        pen.text(((shape[0] - length) / 2, pad / 2 + 1.35 * size * row), line, font=letters, fill=(255, 255, 255, 255))
    return np.asarray(plate)


def _blend(picture: np.ndarray, plate: np.ndarray, bottom: float | None) -> None:
    """Lay ``plate`` into ``picture``: at the upper left, or centred with its lower edge at a share of the height."""
    height, width = picture.shape[:2]
    margin = max(4, round(0.02 * min(height, width)))
    plate = plate[: height - 2 * margin, : width - margin]
    rows, columns = plate.shape[:2]
    top = margin if bottom is None else max(0, round(bottom * height) - rows)
    left = margin if bottom is None else (width - columns) // 2
    part = picture[top : top + rows, left : left + columns]
    alpha = plate[: part.shape[0], : part.shape[1], 3:].astype(np.float32) / 255
    part[:] = np.rint(part + alpha * (plate[: part.shape[0], : part.shape[1], :3].astype(np.float32) - part))


@functools.lru_cache(maxsize=16)
def _load(font: Path | None, size: int, text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if font is not None:
        try:
            return ImageFont.truetype(str(font), size)
        except OSError:
            raise ConfigError(f"font={font} is no font that can be read. Give a .ttf, .otf or .ttc file.") from None
    wide = next((path for path in FONTS if Path(path).is_file()), None)
    if wide is None and WIDE.search(text):
        raise ConfigError(
            "No font with Chinese letters is installed, so they cannot be drawn. Install one "
            "(apt-get install fonts-noto-cjk), or give font=FILE, or leave subtitles to the SRT file: subtitles=srt."
        )
    if wide or Path(PLAIN_FONT).is_file():
        return ImageFont.truetype(wide or PLAIN_FONT, size)
    return ImageFont.load_default(size)


def _wrap(text: str) -> list[str]:
    pieces = re.findall(f"{WIDE.pattern}|[^\\s\u2e80-\u9fff\uff00-\uff60]+\\s*|\\s+", text)
    lines: list[str] = []
    line = ""
    for piece in pieces:
        while _width(piece) > LINE:
            lines, line, piece = [*lines, *([line] if line.strip() else []), piece[:LINE]], "", piece[LINE:]
        closes = piece[0] in "，。！？；：、”’）》」』"
        if line.strip() and _width(line + piece.rstrip()) > LINE and not closes:
            lines, line = [*lines, line], ""
        line += piece
    return [line.strip() for line in [*lines, line] if line.strip()]


def _width(text: str) -> int:
    return len(text) + len(WIDE.findall(text))


def _stamp(seconds: float) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"
