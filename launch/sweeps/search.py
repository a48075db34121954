"""An adaptive search on a current Optuna: it chooses the values of the next job from the scores of those before."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from anchor.arguments import nearest
from anchor.errors import ConfigError
from launch.sweeps.compose import check_job, compose_job
from launch.sweeps.grid import write_fixed
from launch.sweeps.plugin import AnchorSweeper, in_a_row
from launch.sweeps.space import all_values, distribution_of, write_value

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

__all__ = ["JOURNAL", "OptunaConfig", "OptunaSweeper"]

JOURNAL = "study.journal"  # in the sweep's folder; optuna-dashboard reads it too
STUDY = "sweep"
COMBINATION = "combination"  # what a trial of the grid says of itself: which of the shuffled ones it is
SAMPLERS = ("tpe", "gp", "random", "qmc", "grid")


@dataclass
class OptunaConfig:
    """``hydra/sweeper=optuna``."""

    _target_: str = "hydra_plugins.anchor.OptunaSweeper"
    params: dict[str, Any] | None = None  # key: values, as on the command line
    n_trials: int = 20  # jobs altogether, failed ones too; a larger number goes on with a finished search
    n_jobs: int = 1  # jobs chosen at once; more than 1 pays only with a launcher that runs them side by side
    sampler: str = "tpe"  # one of SAMPLERS; grid is every combination in a shuffled order
    startup_trials: int = 10  # of tpe and gp: so many are random before they begin to choose
    seed: int = 0


class OptunaSweeper(AnchorSweeper):
    """Ask Optuna for the values of each job, run it, tell its score; a job's number is its trial's.

    The study is stored: a restarted sweep goes on with it, and what it asks next is what it would have asked without
    the stop, for each trial's seed comes of ``seed`` and its number.
    """

    name = "optuna"
    again = "goes on, for the search leaves failed jobs behind; a larger hydra.sweeper.n_trials adds others"

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        n_trials: int = 20,
        n_jobs: int = 1,
        sampler: str = "tpe",
        startup_trials: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(params)
        self.n_trials, self.n_jobs, self.seed, self.startup_trials = n_trials, n_jobs, seed, startup_trials
        self.sampler = sampler

    def search(self, overrides: Sequence[Override]) -> None:
        """Finish the trials that a stop cut off, then ask for new ones until there are ``n_trials``."""
        self._check()
        self.fixed = [write_fixed(override) for override in overrides if not override.is_sweep_override()]
        self.space = {o.get_key_element(): distribution_of(o) for o in overrides if o.is_sweep_override()}
        if not self.space:
            raise ConfigError(
                "hydra/sweeper=optuna was given nothing to vary. Give a key values: 'module.lr=interval(1e-4,1e-2)'."
            )
        combinations = self._combinations() if self.sampler == "grid" else None
        n_trials = self.n_trials if combinations is None else min(self.n_trials, len(combinations))
        study = self._open_study()
        self._settle(study)
        for batch in in_a_row([trial.number for trial in study.trials if trial.state.name == "RUNNING"]):
            self._run(study, batch)
        while (left := n_trials - len(self.state.jobs)) > 0:
            self._run(study, [self._ask(study, combinations) for _ in range(min(left, self.n_jobs))])

    def _check(self) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                f"hydra/sweeper=optuna needs the package optuna ({error}). Run pip install 'virtual-anchor[sweep]', "
                "or vary lists of values without it."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"hydra.sweeper.sampler={self.sampler} is no choice.{nearest(str(self.sampler), SAMPLERS)} "
                f"Choose one of {', '.join(SAMPLERS)}."
            )
        for name in ("n_trials", "n_jobs"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"hydra.sweeper.{name}={getattr(self, name)} is not a whole number above 0.")

    def _open_study(self) -> Study:
        """The stored study, or a new one; before that, every choice is composed once, which finds a wrong one now."""
        from optuna import create_study
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from optuna.study import StudyDirection

        path = self.folder / JOURNAL
        if not self.state.jobs:
            goals = set()
            for number, probe in enumerate(self._probes()):
                config = compose_job(self.hydra_context, self.config, probe, number)
                check_job(config, here=self.runs_here)
                goals.add((config.monitor, config.monitor_mode))
            if len(goals) > 1:
                told = " and ".join(sorted(f"{monitor} ({mode})" for monitor, mode in goals))
                raise ConfigError(f"the jobs of a search must be judged by one number, and these have {told}.")
            mode = goals.pop()[1]
        else:
            mode = compose_job(self.hydra_context, self.config, self.state.jobs[0].overrides, 0).monitor_mode
        _mend(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held()))  # type: ignore[arg-type]
        direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
        return create_study(storage=storage, study_name=STUDY, direction=direction, load_if_exists=True)

    def _probes(self) -> list[list[str]]:
        """A few jobs that show each choice of each key once, the other keys at their first value."""
        first = {key: _some_values(distribution)[0] for key, distribution in self.space.items()}
        probes = [first] + [
            {**first, key: value}
            for key, distribution in self.space.items()
            for value in _some_values(distribution)[1:]
        ]
        return [[*self.fixed, *map(write_value, probe.keys(), probe.values())] for probe in probes]

    def _combinations(self) -> list[dict[str, Any]]:
        values = [all_values(key, distribution) for key, distribution in self.space.items()]
        combinations = [dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*values)]
        random.Random(self.seed).shuffle(combinations)
        return combinations

    def _settle(self, study: Study) -> None:
        """Tell what ended before a stop and was not told; a trial that had not got all its values never began."""
        self._tell(study, [job.number for job in self.state.jobs])
        for trial in study.trials:
            if trial.state.name == "RUNNING" and set(trial.params) != set(self.space):
                study.tell(trial.number, state=_failed())

    def _ask(self, study: Study, combinations: Sequence[Mapping[str, Any]] | None) -> int:
        """The number of a new trial with all its values."""
        number = len(study.trials)
        if combinations is not None and not any(trial.state.name == "WAITING" for trial in study.trials):
            asked = {
                trial.user_attrs.get(COMBINATION) for trial in study.trials if set(trial.params) == set(self.space)
            }  # one that a kill cut off before it had its values is asked again
            index = next(index for index in range(len(combinations)) if index not in asked)
            study.enqueue_trial(dict(combinations[index]), user_attrs={COMBINATION: index})
        study.sampler = self._make_sampler(number)
        return study.ask(self.space).number

    def _make_sampler(self, number: int) -> BaseSampler:
        import warnings

        from optuna import samplers

        warnings.filterwarnings("ignore", category=_experimental())
        if self.sampler == "qmc":
            return samplers.QMCSampler(seed=self.seed, scramble=True)  # its place in the sequence is in the study
        seed = (self.seed * 1_000_003 + number) % 2**32
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=self.startup_trials)
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=self.startup_trials)
        return samplers.RandomSampler(seed=seed)

    def _run(self, study: Study, numbers: Sequence[int]) -> None:
        trials = study.trials
        chosen = {
            number: [*self.fixed, *(write_value(key, trials[number].params[key]) for key in self.space)]
            for number in numbers
        }
        try:
            self.launch(self.plan(chosen))
        finally:
            self._tell(study, numbers)

    def _tell(self, study: Study, numbers: Sequence[int]) -> None:
        states = {trial.number: trial.state for trial in study.trials}
        for job in self.state.jobs:
            record = self.state.record_of(job)
            if job.number not in numbers or record.status not in ("done", "failed") or states[job.number].is_finished():
                continue
            if record.status == "done" and record.value is not None:
                study.tell(job.number, record.value)
            else:
                study.tell(job.number, state=_failed())


def _some_values(distribution: BaseDistribution) -> list[Any]:
    """All choices, or the lower end of numbers."""
    return list(getattr(distribution, "choices", ())) or [distribution.low]  # type: ignore[attr-defined]


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left half written: whatever is appended to it could not be read."""
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


class _Held:
    """The sweep's lock is held already; Optuna's own is a file that outlives a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _experimental() -> type[Warning]:
    from optuna.exceptions import ExperimentalWarning

    return ExperimentalWarning
