"""Every combination of the values given: what `anchor train -m` does by default."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from anchor.errors import ConfigError
from launch.sweeps.plugin import AnchorSweeper, in_a_row
from launch.sweeps.state import Job

__all__ = ["GridConfig", "GridSweeper", "write_fixed"]


@dataclass
class GridConfig:
    """``hydra/sweeper=basic``: Hydra's basic sweeper with a memory."""

    _target_: str = "hydra_plugins.anchor.GridSweeper"
    params: dict[str, Any] | None = None  # key: values, as on the command line
    max_batch_size: int | None = None  # jobs handed to the launcher at once; None: all
    retry_failed: bool = True  # a restarted sweep runs the jobs again that failed


class GridSweeper(AnchorSweeper):
    """One job for each combination, in the order in which Hydra's basic sweeper would run them."""

    name = "basic"

    def __init__(
        self, params: Mapping[str, Any] | None = None, max_batch_size: int | None = None, retry_failed: bool = True
    ) -> None:
        super().__init__(params)
        self.max_batch_size, self.retry_failed = max_batch_size, retry_failed
        self.again = "tries again" if retry_failed else "and hydra.sweeper.retry_failed=true tries again"

    def search(self, overrides: Sequence[Override]) -> None:
        """Expand, check all, run what is left."""
        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise ConfigError(f"hydra.sweeper.max_batch_size={self.max_batch_size} must be 1 or more, or null for all.")
        jobs = self.state.jobs or self._plan_all(overrides)
        ended = ("done",) if self.retry_failed else ("done", "failed")
        size = self.max_batch_size or len(jobs)
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            left = [i for i, job in enumerate(batch) if self.state.record_of(job).status not in ended]
            # A launch ends with its last job, and the next begins then; a scheduler queues an ended job for a word
            # that it has ended. So few of these between those that are left are launched along, and many are not.
            for group in in_a_row(left, gap=len(left)):
                self.launch([batch[i] for i in group])

    def _plan_all(self, overrides: Sequence[Override]) -> list[Job]:
        chosen = dict(enumerate(itertools.product(*map(_choices, overrides))))
        if not chosen:
            raise ConfigError("the sweep has no job: a key has no values.")
        return self.plan(chosen, is_first=True)


def write_fixed(override: Override) -> str:
    """What is the same in every job."""
    key = override.get_key_element()
    is_bare = override.is_delete() and override.value() is None
    return key if is_bare else f"{key}={override.get_value_element_as_str()}"


def _choices(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [write_fixed(override)]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval has no list of values to run through. "
            "Search it with hydra/sweeper=optuna, or give values: a,b,c or range(start,stop,step)."
        )
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
