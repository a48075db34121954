"""Our sweepers as Hydra's plugins: a folder with a memory around whatever chooses the values of the jobs."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from anchor.errors import ConfigError
from launch.locks import claim
from launch.sweeps.compose import check_job, compose_job, job_folder
from launch.sweeps.job import BASIC_LAUNCHER
from launch.sweeps.state import SWEEP_LOCK, Job, Sweep, read_sweep
from launch.sweeps.table import count_rows, read_rows, render_table

__all__ = ["AnchorSweeper", "SweepFailedError", "in_a_row"]


class SweepFailedError(RuntimeError):
    """A sweep went through, and some of its jobs failed."""


class AnchorSweeper(Sweeper):
    """What every sweep does: refuse a folder that is another's, skip what is done, run the rest, show the table.

    A subclass says which jobs there are, in :meth:`search`, and gives them to :meth:`launch`.
    """

    name: str

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = dict(params or {})
        self.state: Sweep

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Hydra's hook before :meth:`sweep`. The folder is settled here, once, for the launcher and all jobs."""
        from hydra.core.plugins import Plugins

        try:
            folder = Path(config.hydra.sweep.dir)
        except OmegaConfBaseException:  # it names the stage, and the stages are what is varied
            folder = Path("runs", "multirun", "several", _now(config))
        pinned = QuotedString(str(folder), Quote.single).with_quotes()
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={pinned}")
        self.config, self.hydra_context, self.folder = config, hydra_context, folder
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep that ``arguments`` describe, or go on with it.

        Raises:
            AnchorError: a key, a value or a folder that cannot be; no job has started.
            SweepFailedError: it went through, and some jobs failed.
        """
        assert self.hydra_context is not None
        texts = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(texts)
        if any(override.key_or_group == "run_dir" for override in overrides):
            raise ConfigError(
                "run_dir= is the folder of one run, and each job of a sweep has its own. Give hydra.sweep.dir=DIR."
            )
        overrides = list({override.get_key_element(): override for override in overrides}.values())  # the last one wins
        definition = sorted(str(override.input_line) for override in overrides)
        with claim(self.folder / SWEEP_LOCK, f"{self.folder}: another sweep runs there"):
            found = read_sweep(self.folder)
            if found is not None:
                found.check_same(self.name, definition)
            keys = [override.get_key_element() for override in overrides if override.is_sweep_override()]
            self.state = found or Sweep(self.folder, self.name, definition, keys)
            told = f", going on: {count_rows(read_rows(found))}" if found else ""
            print(f"anchor train: sweep in {self.folder}{told}", flush=True)
            is_whole = False
            try:
                self.search(overrides)
                is_whole = True
            finally:
                if self.state.jobs:
                    self._conclude(is_whole)
        self._complain()

    again = "tries again"

    @abstractmethod
    def search(self, overrides: Sequence[Override]) -> None:
        """Make jobs out of the ``overrides`` and launch them."""

    @property
    def runs_here(self) -> bool:
        """Whether jobs run in this process, one after the other, on this machine."""
        assert self.config is not None
        return self.config.hydra.launcher._target_ == BASIC_LAUNCHER

    def plan(self, chosen: Mapping[int, Sequence[str]], is_first: bool = False) -> list[Job]:
        """The jobs with these numbers and overrides; new ones get folders of their own, and are saved.

        Where no job has started (``is_first``), each must also be able to.

        Raises:
            HydraException: one of them cannot be composed.
            AnchorError: one of them cannot start, or two have one folder.
        """
        known = {job.number: job for job in self.state.jobs}
        taken = {job.folder: job.number for job in self.state.jobs}
        for number in sorted(chosen.keys() - known.keys()):
            composed = compose_job(self.hydra_context, self.config, chosen[number], number)
            if is_first:
                check_job(composed, self.runs_here)
            folder = job_folder(composed)
            if folder in taken:
                raise ConfigError(
                    f"jobs {taken[folder]} and {number} of the sweep have the same folder, {folder}. "
                    "hydra.sweep.subdir must differ: ${hydra.job.num} does."
                )
            taken[folder] = number
            known[number] = Job(number, tuple(chosen[number]), folder)
        if len(known) > len(self.state.jobs):
            self.state.jobs = sorted(known.values(), key=lambda job: job.number)
            OmegaConf.save(self.config, self.folder / "multirun.yaml")  # as Hydra's own sweeper leaves it
            self.state.save()
        return [known[number] for number in sorted(chosen)]

    def launch(self, jobs: Sequence[Job]) -> None:
        """Run ``jobs``, whose numbers follow one another; how each one ended stands in its folder.

        Raises:
            SystemExit: the user stopped one of them.
        """
        assert self.launcher is not None
        try:
            self.launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=jobs[0].number)
        except Exception as error:  # the launcher's own: a job that left no word
            print(f"anchor train: {type(error).__name__}: {error}", file=sys.stderr)
            for job in jobs:
                record = self.state.record_of(job)
                if record.status not in ("done", "failed", "stopped"):
                    record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
                    record.save(self.state.folder_of(job))
        if any(self.state.record_of(job).status == "stopped" for job in jobs):
            raise SystemExit(75)

    def _complain(self) -> None:
        """Say which jobs are not done."""
        statuses = {job.number: self.state.record_of(job).status for job in self.state.jobs}
        failed = [str(number) for number, status in statuses.items() if status == "failed"]
        left = [str(number) for number, status in statuses.items() if status not in ("done", "failed")]
        told = [f"{_jobs(failed)} of {len(statuses)} failed"] if failed else []
        told += [f"{_jobs(left)} of {len(statuses)} {'is' if len(left) == 1 else 'are'} not done"] if left else []
        if told:
            again = self.again if failed else "goes on"
            raise SweepFailedError(f"{', '.join(told)}. The same command with hydra.sweep.dir={self.folder} {again}.")

    def _conclude(self, is_whole: bool) -> None:
        sys.stderr.flush()
        print(render_table(self.state, read_rows(self.state)), flush=True)
        if not is_whole:
            print(
                f"anchor train: the sweep has stopped. The same command with hydra.sweep.dir={self.folder} goes on: "
                "what is done is not repeated, what was stopped goes on from its checkpoint.",
                file=sys.stderr,
                flush=True,
            )


def in_a_row(numbers: Sequence[int], gap: int = 0) -> list[list[int]]:
    """``numbers``, ascending, in groups that follow one another: a launcher counts on from the first.

    Up to ``gap`` numbers that are missing between two are put in rather than a new group begun.
    """
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number - groups[-1][-1] <= gap + 1:
            groups[-1].extend(range(groups[-1][-1] + 1, number + 1))
        else:
            groups.append([number])
    return groups


def _jobs(numbers: Sequence[str]) -> str:
    return f"job{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _now(config: Any) -> str:
    return str(OmegaConf.create({"now": "${now:%Y-%m-%d_%H-%M-%S}"}).now)
