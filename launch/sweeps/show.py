"""`anchor sweep show`: the jobs of a sweep, best first, and a page with its charts."""

from __future__ import annotations

from pathlib import Path

from anchor.errors import ConfigError
from launch.sweeps.state import SWEEP, read_sweep

__all__ = ["show"]

PAGE = "sweep.html"


def show(folder: Path, *, page: bool = True) -> None:
    """The jobs of a sweep in a table: what was varied, how each one stands and scored, the best first.

    folder: what hydra.sweep.dir was. A sweep may still run, or hold broken jobs. page=true also writes sweep.html
    there: the table, the score over the jobs and against each varied key, and the curves of the best jobs.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    from launch.sweeps.table import read_rows, render_table

    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder. Give the folder of a sweep: hydra.sweep.dir of `anchor train -m`."
        )
    sweep = read_sweep(folder)
    if sweep is None:
        raise ConfigError(f"{folder} holds no sweep, for there is no {SWEEP} in it.{_hint(folder)}")
    rows = read_rows(sweep)
    print(render_table(sweep, rows))
    if page:
        from launch.sweeps.page import render_page

        path = folder / PAGE
        path.write_text(render_page(sweep, rows), encoding="utf-8")
        print(f"charts: {path}")


def _hint(folder: Path) -> str:
    """What else the folder may be."""
    if (folder / "config.yaml").is_file():
        if (folder.parent / SWEEP).is_file():
            return f" It is a job of the sweep {folder.parent}: give that one."
        return " It is a single run: `anchor evaluate runs=...` draws its curves."
    below = [path.parent for path in sorted(folder.glob(f"*/{SWEEP}")) + sorted(folder.glob(f"*/*/{SWEEP}"))]
    if below:
        newest = max(below, key=lambda path: (path / SWEEP).stat().st_mtime)
        return f" There {'are sweeps' if len(below) > 1 else 'is one'} below it; the newest is {newest}."
    return " Give the folder of a sweep: hydra.sweep.dir of `anchor train -m`."
