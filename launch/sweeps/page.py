"""The page of a sweep: its table and its charts in one HTML file that needs no network and no script."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence

from anchor.evaluation.charts import Line, line_chart
from anchor.evaluation.report import STYLE
from launch.sweeps.dots import Dot, dot_chart
from launch.sweeps.state import Sweep
from launch.sweeps.table import Row, cells_of, count_rows, head_of, read_curves

__all__ = ["render_page"]

CURVES = 6  # lines that one chart can tell apart
EXTRA_STYLE = """
.dot{fill:var(--c0)}.dot.best{fill:var(--c1)}.dot.part{fill:none;stroke:var(--c0)}
td.reason{white-space:normal;color:var(--soft)}tr.first td{font-weight:600}
td.s-failed{color:var(--c3)}td.s-running{color:var(--c1)}td.s-stopped,td.s-waiting{color:var(--soft)}
"""


def render_page(sweep: Sweep, rows: Sequence[Row]) -> str:
    """The whole page; jobs judged by different metrics have charts of their own for each."""
    parts = [f"<h1>Sweep: {html.escape(sweep.name)}</h1>", f"<p class='soft'>{html.escape(count_rows(rows))}</p>"]
    parts.append(_table(sweep, rows))
    for monitor in dict.fromkeys(row.monitor for row in rows if row.best is not None):
        judged = [row for row in rows if row.monitor == monitor and row.best is not None]
        order = "highest is best" if judged[0].mode == "max" else "lowest is best"
        parts.append(f"<h2>{html.escape(monitor)}</h2><p class='soft'>{order}; a ring is a job that is not done</p>")
        parts.append(f"<div class='charts'>{''.join(_charts(judged, monitor))}</div>")
        curves = _curves(sweep, judged)
        if curves:
            more = f", of the best {CURVES} jobs" if len(judged) > CURVES else ""
            parts.append(f"<h2>Curves{more}</h2><div class='charts'>{''.join(curves)}</div>")
    title = html.escape(f"anchor sweep: {sweep.name}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}{EXTRA_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _table(sweep: Sweep, rows: Sequence[Row]) -> str:
    names = [*head_of(rows), "checkpoint or reason"]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = []
    for number, row in enumerate(rows):
        cells = [f"<td>{html.escape(text)}</td>" for text in cells_of(row, rows)]
        cells[1] = f"<td class='s-{row.status}'>{row.status}</td>"
        note = row.reason or (os.path.relpath(row.checkpoint, sweep.folder) if row.checkpoint else "")
        cells.append(f"<td class='reason'>{html.escape(note)}</td>")
        first = " class='first'" if number == 0 and row.best is not None else ""
        body.append(f"<tr{first}>{''.join(cells)}</tr>")
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>"


def _charts(rows: Sequence[Row], monitor: str) -> list[str]:
    """The metric over the jobs, and against each key that was varied."""
    best = rows[0]
    charts = [dot_chart(f"{monitor} by job", [_dot(row, row.job.number, best) for row in rows], "job")]
    for key in dict.fromkeys(key for row in rows for key in row.values):
        dots = [_dot(row, row.values[key], best) for row in rows if key in row.values]
        charts.append(dot_chart(f"{monitor} against {key}", dots, key))
    return charts


def _dot(row: Row, x: float | str, best: Row) -> Dot:
    assert row.best is not None
    kind = "best" if row is best else "" if row.status == "done" else "part"
    values = ", ".join(f"{key}={value}" for key, value in row.values.items())
    return Dot(x, row.best, f"job {row.job.number}: {row.best:g}; {values}", kind)


def _curves(sweep: Sweep, rows: Sequence[Row]) -> list[str]:
    """One chart for each metric, with a line for each of the best jobs."""
    runs = [(row, read_curves(sweep.folder_of(row.job))) for row in rows[:CURVES]]
    names = dict.fromkeys(name for _, run in runs if run for name in run.curves)
    first = rows[0].monitor
    charts = []
    for name in sorted(names, key=lambda name: (name != first, name.startswith("train/"), name)):
        lines = [
            Line(f"job {row.job.number}", [point for point in run.curves.get(name, []) if math.isfinite(point[1])])
            for row, run in runs
            if run
        ]
        charts.append(line_chart(name, lines, "step"))
    return charts
