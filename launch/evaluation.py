"""`anchor evaluate` with a tracker: the command of :mod:`anchor.evaluation`, and ``wandb=`` on top of it."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any, Literal

from anchor.errors import ConfigError
from anchor.evaluation import evaluate as score
from launch.tracking.account import mode

__all__ = ["evaluate"]

Tracked = Literal["false", "true", "run"]


def evaluate(*, wandb: Tracked = "false", project: str = "anchor", **given: Any) -> None:  # noqa: D103
    runs: tuple[Path, ...] = given.get("runs", ())
    if wandb == "run" and not runs:
        raise ConfigError("wandb=run logs into the tracked run whose folder is the last of runs=; give runs=RUN_DIR.")
    if wandb == "run" and not any((runs[-1] / "wandb").glob("offline-run-*")):
        raise ConfigError(
            f"wandb=run: {runs[-1]} was not tracked. Train with logger=wandb, or give wandb=true for a run of its own."
        )
    score(**given)
    if wandb == "false":
        return
    if mode() == "disabled":
        print("  wandb: WANDB_MODE=disabled, nothing was logged.")
        return
    out, folder = Path(given["out"]), (runs[-1] if wandb == "run" else Path(given["out"]))
    words = [sys.executable, "-m", "launch.tracking.evaluation", str(out), str(folder), wandb, project]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        print(f"  wandb: nothing was logged ({said[:200]}); the report itself is whole.", file=sys.stderr)
    else:
        print(f"  wandb: written in {folder / 'wandb'}; `anchor track sync {folder}` sends it.")


def _as_the_command() -> None:
    """Give :func:`evaluate` the keys and the help of the function that it wraps, and its own two."""
    own = inspect.signature(evaluate).parameters
    inner = inspect.signature(score)
    keys = [*inner.parameters.values(), own["wandb"], own["project"]]
    evaluate.__signature__ = inner.replace(parameters=keys)  # type: ignore[attr-defined]
    hints = {**typing.get_type_hints(score), "wandb": Tracked, "project": str}
    evaluate.__annotations__ = hints
    text = inspect.getdoc(score) or ""
    evaluate.__doc__ = (
        f"{text}\nwandb: true logs scores, report and films as a run of its own in out=, run into the tracked run that "
        "is the last of runs=; offline first, sent by `anchor track sync`. project: on the wandb board."
    )


_as_the_command()
