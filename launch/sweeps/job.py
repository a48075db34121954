"""One job of a sweep: a run of its own that says how it ended, and never takes the others along."""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError
from launch.locks import claim
from launch.sweeps.state import JOB_LOCK, Job, Record, Sweep, read_record, read_sweep
from launch.sweeps.table import best_of, read_curves

__all__ = ["STOPS", "JobExit", "run_in_sweep"]

STOPS = (75, 129, 130, 143)  # saved and to be started again; SIGHUP, Ctrl-C, SIGTERM: the user's word, no failure
OURS = "hydra_plugins.anchor."
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


class JobExit(SystemExit):
    """A run ends with ``status``, and ``reason`` has been said; ``is_stop``: because the user wanted it."""

    def __init__(self, status: int, reason: str, is_stop: bool = False) -> None:
        super().__init__(status)
        self.reason, self.is_stop = reason, is_stop or status in STOPS


def run_in_sweep(config: Any, run: Callable[[Any], float | None]) -> float | None:
    """Run one job by ``run``, unless it is done; the best of its monitored metric, None where it has none or failed.

    Raises:
        SystemExit: the user stopped it. Where a launcher runs jobs elsewhere, ``job.json`` alone says so.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    sweep = read_sweep(Path(hydra.sweep.dir)) if hydra.sweeper._target_.startswith(OURS) else None
    if sweep is None:  # the sweeper is somebody else's, and knows what it wants of a job
        return run(config)
    job = next(job for job in sweep.jobs if job.number == hydra.job.num)
    record = read_record(folder)
    if record.status == "done" or (record.status == "failed" and not hydra.sweeper.get("retry_failed", True)):
        print(f"anchor train: job {job.number} is {record.status} already, in {folder}")
        return record.value
    stop = _run_held(config, run, folder, sweep, job)
    if stop is not None and hydra.launcher._target_ == BASIC_LAUNCHER:
        raise stop
    return read_record(folder).value


def _run_held(
    config: Any, run: Callable[[Any], float | None], folder: Path, sweep: Sweep, job: Job
) -> BaseException | None:
    """Run the job under its lock and write how it ended; what the user's stop raised is returned."""
    record = Record("running", None, config.monitor, config.monitor_mode)
    config.run_dir, config.sweep_id, config.sweep_job = str(folder), sweep.name, job.number
    stop: BaseException | None = None
    with contextlib.ExitStack() as stack:
        is_ours = True
        try:
            stack.enter_context(claim(folder / JOB_LOCK, f"{folder}: job {job.number} is being run already"))
        except ConfigError as error:
            is_ours = False  # its record is not ours to write
            if config.accelerator.nodes == 1:
                print(f"anchor train: {error}", file=sys.stderr)
                return None  # else another node of this very job holds it, and waits for this one
        if is_ours:
            record.save(folder)
        try:
            last = run(config)
            record.status, record.value = "done", best_value(folder, record, last)
        except SystemExit as end:
            is_stop = getattr(end, "is_stop", end.code in STOPS)
            record.status = "stopped" if is_stop else "failed"
            record.reason = getattr(end, "reason", f"it ended with status {end.code}")
            stop = end if record.status == "stopped" else None
        except KeyboardInterrupt as end:
            record.status, record.reason, stop = "stopped", "stopped by the user", end
        except Exception as error:
            traceback.print_exc()
            record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
        if is_ours:
            record.save(folder)
    return stop


def best_value(folder: Path, record: Record, last: float | None) -> float | None:
    """The best that the monitored metric was: of the run's own record, else what it was in the end."""
    run = read_curves(folder)
    points = list(run.curves.get(record.monitor, [])) if run else []
    points += [(run.steps if run else 0, last)] if last is not None and math.isfinite(last) else []
    best = best_of(points, record.mode)
    return best[1] if best else None
