"""The jobs of a sweep as rows, best first, and the table that the terminal shows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anchor.errors import ConfigError
from launch.sweeps.state import Job, Status, Sweep

if TYPE_CHECKING:
    from anchor.evaluation.curves import Run

__all__ = ["Row", "best_of", "cells_of", "count_rows", "head_of", "read_curves", "read_rows", "render_table"]

STATUSES: tuple[Status, ...] = ("done", "failed", "running", "stopped", "waiting")

MAX_DIGITS = 8
MAX_WIDTH = 40  # characters of one cell; a path may be longer than a terminal


@dataclass(frozen=True)
class Row:
    """One job as it stands."""

    job: Job
    status: Status
    values: dict[str, str]  # key of the sweep: what this job has there
    monitor: str
    mode: str
    best: float | None  # of the monitored metric so far
    last: float | None
    steps: int
    seconds: float  # of training, over all starts
    checkpoint: Path | None  # the one whose score is ``best``
    reason: str

    def key(self) -> tuple[bool, float, int]:
        """What rows are sorted by: best first, those without a number last."""
        sign = -1.0 if self.mode == "max" else 1.0
        return self.best is None, sign * (self.best or 0.0), self.job.number


def read_rows(sweep: Sweep) -> list[Row]:
    """A row for each job, best first; a job whose folder is broken has what can be read."""
    return sorted((_read_row(sweep, job) for job in sweep.jobs), key=Row.key)


def read_curves(folder: Path) -> Run | None:
    """The run in ``folder`` as it recorded itself; None where it has recorded nothing."""
    from anchor.evaluation.curves import read_run

    try:
        return read_run(folder)
    except (ConfigError, OSError):
        return None


def best_of(points: Sequence[tuple[float, float]], mode: str) -> tuple[float, float] | None:
    """The ``(step, value)`` with the best value, the first of equals; None without any."""
    sign = -1.0 if mode == "max" else 1.0
    return min(points, key=lambda point: sign * point[1], default=None)


def _read_row(sweep: Sweep, job: Job) -> Row:
    folder, record = sweep.folder_of(job), sweep.record_of(job)
    run = read_curves(folder)
    points = run.curves.get(record.monitor, []) if run else []
    best = best_of(points, record.mode)
    value = record.value if record.value is not None else best[1] if best else None
    checkpoints = folder / "checkpoints"
    is_last = run is not None and best is not None and best[0] == run.steps  # best.ckpt knows no validation at the end
    names = ("last.ckpt", "best.ckpt") if is_last else ("best.ckpt", "last.ckpt")
    found = [checkpoints / name for name in names if (checkpoints / name).is_file()]
    return Row(
        job=job,
        status=record.status,
        values=_values(sweep.keys, job.overrides),
        monitor=record.monitor,
        mode=record.mode,
        best=value,
        last=points[-1][1] if points else record.value,
        steps=run.steps if run else 0,
        seconds=run.seconds if run else 0.0,
        checkpoint=found[0] if found else None,
        reason=" ".join(record.reason.split()),
    )


def _values(keys: Sequence[str], overrides: Sequence[str]) -> dict[str, str]:
    given = dict(text.partition("=")[::2] for text in overrides)
    return {key.lstrip("+"): given[key] for key in keys if key in given}


def render_table(sweep: Sweep, rows: Sequence[Row]) -> str:
    """The sweep in one table: what was varied, how each job stands, where the best checkpoint lies."""
    monitors = _monitors(rows)
    lines = [f"sweep {sweep.folder}: {count_rows(rows)}"]
    lines += _aligned([head_of(rows), *(cells_of(row, rows) for row in rows)])
    lines += [
        f"  job {row.job.number} {row.status}: {row.reason.removeprefix(row.status).lstrip()}"
        for row in rows
        if row.reason and row.status in ("failed", "stopped")
    ]
    for monitor in monitors:
        first = next((row for row in rows if row.monitor == monitor and row.best is not None), None)
        if first is not None:
            of = f" of {monitor}" if len(monitors) > 1 else ""
            lines.append(f"best{of}: job {first.job.number}, {first.checkpoint or 'which has left no checkpoint'}")
    return "\n".join(lines)


def count_rows(rows: Sequence[Row]) -> str:
    """How many jobs stand how, and what they are sorted by."""
    counts = {status: sum(row.status == status for row in rows) for status in STATUSES}
    told = "".join(f", {number} {status}" for status, number in counts.items() if number)
    monitors = _monitors(rows)
    order = {"max": "highest first", "min": "lowest first"}[next((row.mode for row in rows if row.monitor), "min")]
    by = f"; by {monitors[0]}, {order}" if len(monitors) == 1 else ""
    return f"{len(rows)} job{'s' if len(rows) != 1 else ''}{told}{by}"


def head_of(rows: Sequence[Row]) -> list[str]:
    """The names of the columns."""
    monitors = _monitors(rows)
    metric = monitors[0] if len(monitors) == 1 else "best"
    several = ["metric"] if len(monitors) > 1 else []
    return ["job", "status", *several, metric, "last", "steps", "seconds", *_keys(rows)]


def cells_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """The cells of ``row`` in the table of ``rows``."""
    several = [row.monitor] if len(_monitors(rows)) > 1 else []
    measured = [str(row.steps), f"{row.seconds:.1f}"] if row.steps else ["", ""]
    values = [_short(row.values.get(key, "")) for key in _keys(rows)]
    return [str(row.job.number), row.status, *several, _number(row.best), _number(row.last), *measured, *values]


def _monitors(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.monitor for row in rows if row.monitor))


def _keys(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.values))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3e}"


def _short(text: str) -> str:
    """A value that fits a cell: numbers with four digits, the end of a long path."""
    with contextlib.suppress(ValueError):
        return text if len(text) <= MAX_DIGITS else f"{float(text):.4g}"
    return text if len(text) <= MAX_WIDTH else f"...{text[3 - MAX_WIDTH :]}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
