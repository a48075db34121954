"""Start one worker per card through torch's elastic agent, the engine of torchrun."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError
from launch.accelerators import Machine
from launch.worker import AGENT_PID, CONFIG_HASH, RESULT, hash_config

__all__ = ["JobError", "run_job"]


class JobError(RuntimeError):
    """A worker ended with ``status``; what it had to say is on the terminal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def run_job(config_path: Path, machine: Machine) -> dict[str, Any]:
    """Run ``config_path`` on every card of ``machine`` and return what rank 0 left in ``result.json``.

    Raises:
        JobError: a worker failed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if machine.nodes > 1:
        raise ConfigError(
            "accelerator.nodes: several machines are started by torchrun with `-m launch.worker CONFIG` on each."
        )
    os.environ[CONFIG_HASH] = hash_config(config_path)
    os.environ[AGENT_PID] = str(os.getpid())
    os.environ["PYTHONSAFEPATH"] = "1"  # a folder named launch where the user stands must not hide ours
    # Half of the logical cores: hyper-threads and loaders want the rest, and threads that wait spin against each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // (2 * machine.devices))))
    (config_path.parent / RESULT).unlink(missing_ok=True)
    logs = tempfile.TemporaryDirectory(prefix="anchor-agent-")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=machine.devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
        logs_specs=DefaultLogsSpecs(log_dir=logs.name),
    )
    try:
        with logs:
            elastic_launch(config, sys.executable)("-m", "launch.worker", str(config_path))
    except SignalException as stop:
        name = "Ctrl-C" if stop.sigval == signal.SIGINT else stop.sigval.name
        raise JobError(
            128 + stop.sigval, f"stopped by {name}; the same run_dir goes on from its last checkpoint"
        ) from None
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        status = first.exitcode if first.exitcode > 0 else 128 - first.exitcode
        raise JobError(status, f"rank {rank} ended with status {first.exitcode}; its words stand above") from None
    return json.loads((config_path.parent / RESULT).read_text(encoding="utf-8"))
