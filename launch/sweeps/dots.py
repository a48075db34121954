"""A chart of single points as inline SVG: numbers on a plain or a logarithmic axis, or words side by side."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from anchor.evaluation.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, round_ticks, short_number

__all__ = ["Dot", "dot_chart"]

LOG_SPAN = 20.0  # numbers that differ by this factor are spread by their logarithm
INSET = 10  # px between the frame and the outermost points
MAX_LABEL = 14  # characters of a word below the axis
MAX_MARKS = 4  # different numbers that are all labelled
MAX_WORDS = 8  # words that fit below the axis


@dataclass(frozen=True)
class Dot:
    """One point. ``x`` is a number or a word, ``kind`` is "", "best" or "part" (a ring)."""

    x: float | str
    y: float
    title: str
    kind: str = ""


@dataclass(frozen=True)
class _Axis:
    """Where each dot stands between 0 and 1, and the labels there."""

    places: list[float]
    ticks: list[tuple[float, str]]
    note: str = ""


def dot_chart(title: str, dots: Sequence[Dot], x_label: str) -> str:
    """A ``<figure>`` with a point for each dot, the best in a colour of its own and drawn last."""
    across = _across([dot.x for dot in dots])
    ys = [dot.y for dot in dots]
    y_ticks = round_ticks(min(ys), max(ys), 4)
    low, high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))
    left, right = LEFT + INSET, WIDTH - RIGHT - INSET

    def height(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in y_ticks:
        y = height(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short_number(tick)}</text>')
    for place, label in across.ticks:
        x = left + place * (right - left)
        text = html.escape(label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…")
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    label = html.escape(f"{x_label}{across.note}")
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{label}</text>')
    for place, dot in sorted(zip(across.places, dots, strict=True), key=lambda pair: pair[1].kind == "best"):
        x, y = left + place * (right - left), height(dot.y)
        told = f"<title>{html.escape(dot.title)}</title>"
        parts.append(f'<circle class="dot {dot.kind}" cx="{x:.1f}" cy="{y:.1f}" r="4">{told}</circle>')
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption><b>{html.escape(title)}</b></figcaption>{picture}</figure>"


def _across(values: Sequence[float | str]) -> _Axis:
    numbers = [_number(value) for value in values]
    if any(number is None for number in numbers):
        return _words([str(value) for value in values])
    found = [number for number in numbers if number is not None]
    low, high = min(found), max(found)
    if low == high:
        return _Axis([0.5] * len(found), [(0.5, short_number(low))])
    marks = sorted(set(found))
    is_few = len(marks) <= MAX_MARKS  # each is labelled then, in place of round numbers
    if low > 0 and high / low >= LOG_SPAN:
        logs = [math.log10(number) for number in found]
        span = math.log10(high) - math.log10(low)
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        if not is_few:
            marks = [10.0**power for power in powers]
        ticks = [((math.log10(mark) - math.log10(low)) / span, f"{mark:g}") for mark in marks]
        return _Axis([(log - math.log10(low)) / span for log in logs], ticks, " (logarithmic)")
    if not is_few:
        marks = [tick for tick in round_ticks(low, high, 5) if low <= tick <= high]
    ticks = [((mark - low) / (high - low), short_number(mark)) for mark in marks]
    return _Axis([(number - low) / (high - low) for number in found], ticks)


def _words(values: Sequence[str]) -> _Axis:
    words = list(dict.fromkeys(values))
    place = {word: (i + 0.5) / len(words) for i, word in enumerate(words)}
    shown = words if len(words) <= MAX_WORDS else []
    return _Axis([place[value] for value in values], [(place[word], word) for word in shown])


def _number(value: float | str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
