"""Scores as a table, for terminal and report: ours, others', the real pictures', and a control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anchor.evaluation.rows import GROUPS, Row

__all__ = ["Line", "rows_of"]


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


def _look_up(row: Row, what: str | float | None, scores: Mapping[str, float]) -> str:
    value = scores.get(what) if isinstance(what, str) else what
    return "" if value is None else _show(row, value)


def _show(row: Row, value: float) -> str:
    digits = 1 if row.unit in ("dB", "ms") or abs(value) >= 100 else 0 if row.unit == "frames" else 3
    return f"{value:.{digits}f}{' ' + row.unit if row.unit else ''}"
