"""Small line charts as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "line_chart", "round_ticks", "short_number"]

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 34
MAX_POINTS = 240  # a chart is narrower than a long run: means of neighbours are drawn


@dataclass(frozen=True)
class Line:
    """One curve: ``points`` are (x, y)."""

    label: str
    points: Sequence[tuple[float, float]]


def line_chart(
    title: str, lines: Sequence[Line], x_label: str, level: float | None = None, level_label: str = ""
) -> str:
    """A ``<figure>`` with up to six curves; ``level`` is drawn as a dashed line, for chance."""
    lines = [Line(line.label, _thinned(line.points)) for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + ([level] if level is not None else [])
    x_ticks, y_ticks = round_ticks(min(xs), max(xs), 5), round_ticks(min(ys), max(ys), 4)
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in y_ticks:
        y = place(x0, tick)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short_number(tick)}</text>')
    for tick in x_ticks:
        if x0 <= tick <= x1:
            x, y = place(tick, y0)
            parts.append(f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{short_number(tick)}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">{html.escape(x_label)}</text>'
    )
    if level is not None:
        y = place(x0, level)[1]
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">{html.escape(level_label)}</text>')
    for number, line in enumerate(lines):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line.points))
        parts.append(f'<polyline class="c{number % 6}" points="{path}"/>')
        if len(line.points) < 40:
            parts += [
                f'<circle class="c{number % 6}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'
                for x, y in (place(*p) for p in line.points)
            ]
    key = " ".join(
        f'<span class="key"><i class="c{i % 6}"></i>{html.escape(line.label)}</span>' for i, line in enumerate(lines)
    )
    caption = f"<figcaption><b>{html.escape(title)}</b> {key if len(lines) > 1 else ''}</figcaption>"
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    return f"<figure>{caption}{picture}</figure>"


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return list(points)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1e-3), high + 0.5 * max(abs(high), 1e-3)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def short_number(value: float) -> str:
    """A number as short as a label of an axis must be."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"
