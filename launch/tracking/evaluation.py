"""An evaluation as a part of a wandb run, written offline by a process of its own.

``python -m launch.tracking.evaluation OUT FOLDER true|run PROJECT``: what `anchor evaluate` left in OUT goes into
FOLDER/wandb. A tracker that fails leaves the report as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError
from anchor.evaluation.curves import read_runs
from anchor.evaluation.table import rows_of
from launch.locks import hold
from launch.tracking.client import LOCK, STEP, prepare_environment
from launch.tracking.git import describe_git
from launch.tracking.logger import new_run_id
from launch.tracking.sync import find_parts

__all__ = ["main", "table_rows"]

PATIENCE_S = 30.0


def main(words: Sequence[str]) -> int:
    """Write one evaluation."""
    out, folder, how, project = Path(words[0]), Path(words[1]), words[2], words[3]
    record = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    git = describe_git(Path(__file__).parent, Path.cwd())
    place = folder / "wandb"
    place.mkdir(parents=True, exist_ok=True)
    parts = find_parts(place)
    run_id = max(parts, key=lambda part: part.started).run_id if how == "run" else new_run_id()
    prepare_environment(folder, git)
    wandb: Any = __import__("wandb")
    about = {key: record[key] for key in ("stage", "checkpoint", "expert", "data", "split", "seed", "protocols")}
    with hold(place / LOCK, patience_s=PATIENCE_S) as is_ours:
        if not is_ours:
            print("the run is still being written", file=sys.stderr)
            return 1
        run = wandb.init(
            mode="offline",
            dir=str(folder),
            id=run_id,
            project=project,
            resume="allow" if how == "run" else None,
            name=None if how == "run" else f"evaluate {out.resolve().name}",
            job_type="evaluate" if how != "run" else None,
            config={"evaluation": about, "git": git},
            settings=wandb.Settings(console="off", silent=True),
        )
        run.define_metric(STEP)
        run.define_metric("evaluate/*", step_metric=STEP)
        run.log({STEP: _last_step(folder) if how == "run" else 0, **_logged(wandb, record, out)})
        run.finish()
    return 0


def table_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The report's tables as one: columns and rows, all of them text."""
    others = {name: other["scores"] for name, other in record["compared"].items()}
    rows = [
        [group, line.row.label, line.ours, *line.others, line.real, line.control]
        for group, _, lines in rows_of(record["scores"], others)
        for line in lines
    ]
    return ["group", "score", "ours", *others, "real", "control"], rows


def _logged(wandb: Any, record: Mapping[str, Any], out: Path) -> dict[str, Any]:
    logged: dict[str, Any] = {f"evaluate/{name}": value for name, value in record["scores"].items()}
    for name, other in record["compared"].items():
        logged |= {f"evaluate/{name}/{score}": value for score, value in other["scores"].items()}
    columns, rows = table_rows(record)
    logged["evaluate/table"] = wandb.Table(columns=columns, data=rows)
    logged["evaluate/report"] = wandb.Html((out / "report.html").read_text(encoding="utf-8"), inject=False)
    films = [
        wandb.Video(str(out / film["file"]), caption=f"{film['title']}: {film['panels']}", format="mp4")
        for film in record["films"]
    ]
    if films:
        logged["evaluate/films"] = films
    return logged


def _last_step(folder: Path) -> int:
    with contextlib.suppress(ConfigError):
        return read_runs([folder])[0].steps
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main(sys.argv[1:]))
