"""The configuration of one job before it runs: to see in the first second what would fail in hour nine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict, read_write

from anchor.errors import AnchorError, ConfigError

__all__ = ["check_job", "compose_job", "job_folder"]


def compose_job(context: Any, config: Any, overrides: Sequence[str], number: int) -> Any:
    """What the launcher will compose for job ``number``, Hydra's own keys included.

    Raises:
        HydraException: a key or a choice that does not exist.
    """
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.num, composed.hydra.job.id = number, str(number)
    folder = Path(composed.hydra.sweep.dir, job_folder(composed)).absolute()
    with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = str(folder)
    return composed


def job_folder(composed: Any) -> str:
    """The job's folder within the sweep's, as ``hydra.sweep.subdir`` makes it."""
    HydraConfig.instance().set_config(composed)  # for what asks Hydra: ${hydra:job.num}
    return str(OmegaConf.select(composed, "hydra.sweep.subdir"))


def check_job(composed: Any, here: bool) -> None:
    """See that the composed job could start; the machine only if it runs ``here``.

    Raises:
        AnchorError: it could not; names the job.
    """
    from launch.cli import check_run

    HydraConfig.instance().set_config(composed)
    config = copy.deepcopy(composed)
    with read_write(config), open_dict(config):
        del config["hydra"]
    config.run_dir = composed.hydra.runtime.output_dir
    try:
        if here and config.accelerator.nodes != 1:
            raise ConfigError(
                f"accelerator.nodes={config.accelerator.nodes}: a sweep over several machines goes through a "
                "scheduler, which starts each job on all of them: hydra/launcher=submitit_slurm. Or start its jobs "
                "one by one."
            )
        check_run(config, here)
    except AnchorError as error:
        raise type(error)(f"job {composed.hydra.job.num} of the sweep: {error} No job has started.") from error
