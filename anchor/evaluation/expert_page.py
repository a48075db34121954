"""What is said of the expert alone: how sharply it hears time, how far to trust its confidence, whom it hears well."""

from __future__ import annotations

import html
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from anchor.evaluation.charts import Line, line_chart

__all__ = ["expert_lines", "reliability_chart", "speaker_table"]

SHOWN_SHIFTS = (-15, -10, -7, *range(-5, 6), 7, 10, 15)  # frames
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


def expert_lines(details: Mapping[str, Any]) -> list[str]:
    """The same for a terminal: the shift curve, confidence beside what came of it, and how the speakers differ."""
    lines = []
    if curve := details.get("shift_curve"):
        lines.append("  Cosine with speech so many frames later, mean of the clips")
        lines += _columns(
            {"frames": SHOWN_SHIFTS, "cosine": [curve[shift + len(curve) // 2] for shift in SHOWN_SHIFTS]}
        )
    if rows := details.get("reliability"):
        sure, right, count = zip(*rows, strict=True)
        lines.append("  How sure it was of its choice, and how often it was right")
        lines += _columns({"confidence": sure, "right": right, "windows": [int(number) for number in count]})
    people = details.get("by_speaker") or {}
    scored = {name: row["pair_accuracy"] for name, row in people.items() if row["pair_accuracy"] is not None}
    if len(scored) > 1:
        worst, best = (choose(scored, key=lambda name: scored[name]) for choose in (min, max))
        middle, spread = statistics.median(scored.values()), statistics.pstdev(scored.values())
        lines.append(
            f"  Pair accuracy of {len(scored)} speakers: {scored[worst]:.3f} ({worst}) to {scored[best]:.3f} ({best}), "
            f"median {middle:.3f}, standard deviation {spread:.3f}"
        )
        asked = [row["offset_within_one_2s"] for row in people.values() if row["windows_2s"]]
        lines.append(f"  Every 2-second window within one frame: {sum(x == 1 for x in asked)} of {len(asked)} speakers")
    return lines


def _columns(rows: Mapping[str, Sequence[float]]) -> list[str]:
    return [
        f"    {label:<11}" + "".join(f"{value:>6}" if isinstance(value, int) else f"{value:>6.2f}" for value in row)
        for label, row in rows.items()
    ]


def _show(value: float | int | None) -> str:
    return "too short" if value is None else f"{value:.3f}" if isinstance(value, float) and value <= 1 else f"{value:g}"
