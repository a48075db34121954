"""What a run wrote about itself: ``metrics.jsonl``, one JSON object per line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anchor.errors import ConfigError
from anchor.files import read_records

__all__ = ["Run", "read_run", "read_runs"]

NOT_METRICS = ("step", "epoch", "seconds")


@dataclass
class Run:
    """The curves of one run."""

    name: str
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # metric: (step, value) ...
    steps: int = 0
    seconds: float = 0.0


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The curves of run folders, or of metrics.jsonl files; a last line that was cut off is left out.

    Raises:
        ConfigError: a run has no metrics.jsonl, or it holds no numbers.
    """
    runs = [read_run(Path(path)) for path in paths]
    names = [run.name for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if not run.curves:
            raise ConfigError(f"runs={path}: holds no metric with a step. It is empty or no record of `anchor train`.")
        if names.count(run.name) > 1:  # run folders are often called by the time alone
            run.name = "/".join(Path(path).resolve().parts[-2:])
    return runs


def read_run(path: Path) -> Run:
    """The curves of one run folder, or metrics.jsonl file, as far as it came; none where it has no number yet.

    Raises:
        ConfigError: there is no metrics.jsonl.
    """
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"runs={path}: no metrics.jsonl there. Give the folder of a run of `anchor train`.")
    run = Run(file.resolve().parent.name)
    for record in read_records(file):
        seconds = record.get("seconds")
        run.steps = max(run.steps, record["step"])
        run.seconds = max(run.seconds, seconds) if isinstance(seconds, (int, float)) else run.seconds
        for name, value in record.items():
            if name not in NOT_METRICS and isinstance(value, (int, float)) and math.isfinite(value):
                run.curves.setdefault(name, []).append((record["step"], float(value)))
    return run
