"""The report of a qualification: a table on the terminal, ``report.md`` for people, ``report.json`` for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from launch.mlu_qualify.outcome import FAILED, OK, SKIPPED, UNFIT, Item, Outcome

__all__ = ["count_states", "format_row", "write_report"]


def format_row(outcome: Outcome, width: int) -> str:
    """One line of the table."""
    return f"{outcome.item:<{width}}  {outcome.state:<17}{outcome.text}"


def count_states(outcomes: Sequence[Outcome]) -> str:
    """``12 ok, 1 failed, 2 skipped``; states that did not occur are left out."""
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in (OK, FAILED, SKIPPED, UNFIT)}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def write_report(
    out: Path, outcomes: Sequence[Outcome], items: Sequence[Item], versions: Mapping[str, str], is_simulated: bool
) -> Path:
    """Write both files into ``out``; the path of the one for people."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = {
        "when": now,
        "host": platform.node(),
        "is_simulated": is_simulated,
        "versions": dict(versions),
        "items": [outcome.as_dict() for outcome in outcomes],
    }
    (out / "report.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    questions = {item.name: item.question for item in items}
    lines = [
        "# Qualification of MLU cards",
        "",
        f"{now}, {platform.node()}: {count_states(outcomes)}.",
        "",
        *(["**Simulated cards: this shows that the program works, and nothing of a real card.**", ""] * is_simulated),
        "| what | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in versions.items()),
        "",
        "| item | state | figure or reason | asks | s |",
        "|---|---|---|---|---|",
        *(
            f"| {one.item} | {one.state} | {_cell(one.text)} | {questions[one.item]} | {one.seconds} |"
            for one in outcomes
        ),
        "",
    ]
    path = out / "report.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
