"""Scores as a table, for terminal and report: ours, others', the real pictures', and a control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anchor.evaluation.rows import GROUPS, Row

__all__ = ["Line", "as_text", "rows_of"]


@dataclass(frozen=True)
class Line:
    """A row with its numbers as text."""

    row: Row
    ours: str
    others: tuple[str, ...]  # of the generators it is compared with
    real: str
    control: str


def rows_of(
    scores: Mapping[str, float], others: Mapping[str, Mapping[str, float]] | None = None
) -> list[tuple[str, str, list[Line]]]:
    """``(group, what it is, its lines)`` for the scores that are there, with those of ``others`` beside them."""
    groups = []
    for group, (text, rows) in GROUPS.items():
        lines = [
            Line(
                row,
                _show(row, scores[row.name]),
                tuple(_look_up(row, row.name, other) for other in (others or {}).values()),
                _look_up(row, row.real, scores),
                _look_up(row, row.control, scores),
            )
            for row in rows
            if row.name in scores
        ]
        if lines:
            groups.append((group, text, lines))
    return groups


def as_text(scores: Mapping[str, float], compared: Mapping[str, Any]) -> str:
    """All of it for the terminal; ``compared`` are the other generators of scores.json."""
    head = "".join(f"{name:>10}" for name in ("ours", *compared, "real", "control"))
    lines = [f"  {'':<42}{head}"]
    for group, _, rows in rows_of(scores, {name: other["scores"] for name, other in compared.items()}):
        lines.append(f"  {group}")
        for line in rows:
            cells = (line.ours, *line.others, line.real, line.control)
            lines.append(f"    {line.row.label:<40}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _look_up(row: Row, what: str | float | None, scores: Mapping[str, float]) -> str:
    value = scores.get(what) if isinstance(what, str) else what
    return "" if value is None else _show(row, value)


def _show(row: Row, value: float) -> str:
    digits = 1 if row.unit in ("dB", "ms") or abs(value) >= 100 else 0 if row.unit == "frames" else 3
    return f"{value:.{digits}f}{' ' + row.unit if row.unit else ''}"
