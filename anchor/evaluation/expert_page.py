"""What the report says of the expert alone: how far to trust its confidence, and whom it hears well."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from anchor.evaluation.charts import Line, line_chart

__all__ = ["reliability_chart", "speaker_table"]

COLUMNS = {
    "clips": "clips",
    "seconds": "seconds",
    "pair_accuracy": "pair accuracy",
    "windows_2s": "2-second windows",
    "offset_within_one_2s": "offset within 1 frame",
}


def reliability_chart(details: Mapping[str, Any]) -> str:
    """A curve of how often the expert is right when it is so sure, beside the line it should keep to."""
    rows = details.get("reliability")
    if not rows:
        return ""
    lines = [Line("right", [(sure, right) for sure, right, _ in rows]), Line("as sure as right", [(0, 0), (1, 1)])]
    return line_chart("Share right by confidence", lines, "confidence of the softmax")


def speaker_table(details: Mapping[str, Any]) -> str:
    """A line for each speaker, the worst first; empty where there is only one."""
    people = details.get("by_speaker") or {}
    if len(people) < 2:
        return ""
    head = "".join(f"<th class='n'>{label}</th>" for label in COLUMNS.values())
    worst = sorted(people, key=lambda name: (people[name]["pair_accuracy"] or 0.0, name))
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td class='n'>{_show(people[name][key])}</td>" for key in COLUMNS)
        + "</tr>"
        for name in worst
    )
    return (
        f"<details><summary>Speaker by speaker</summary><table><tr><th>speaker</th>{head}</tr>{body}</table></details>"
    )


def _show(value: float | int | None) -> str:
    return "too short" if value is None else f"{value:.3f}" if isinstance(value, float) and value <= 1 else f"{value:g}"
