"""One run on this node's cards and, through a rendezvous, on those of others: from config.yaml to its result."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.accelerators import Machine
from launch.failures import STOPPED, Failure, describe_status, show
from launch.options import check_launch
from launch.output import log_path
from launch.spares import Spares
from launch.worker import AGENT_PID, CONFIG_HASH, RESULT, hash_config

__all__ = ["JobError", "StoppedError", "loading_environment", "run_job"]

WORKER = ("-m", "launch.worker")
RESULT_S = 10.0  # a network file system may take so long to show what another node wrote


class JobError(RuntimeError):
    """The run ended with ``status`` before it was done; the message says why, whole where it is one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StoppedError(JobError):
    """A signal was meant to end the run: no failure, and a sweep stops with it."""


def run_job(
    config_path: Path,
    machine: Machine,
    options: Mapping[str, Any] | None = None,
    spares: Spares | None = None,
    watchdog: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run ``config_path`` on every card of ``machine`` and return what rank 0 left in ``result.json``.

    ``options`` and ``watchdog`` are the configuration's ``launch`` and ``watchdog``; ``spares`` become the first ranks.

    Raises:
        JobError: a rank failed, or the run was stopped.
        ConfigError: the nodes do not find each other, or run different things.
    """
    from torch.distributed.elastic.agent.server import WorkerSpec

    from launch.agent import Agent, Interrupted, say
    from launch.rendezvous import EndedError, Nodes
    from launch.watchdog import Limits

    options = check_launch(options or {}, machine.nodes)
    limits, run_dir = Limits.of(watchdog), config_path.parent
    environment = {CONFIG_HASH: hash_config(config_path), **loading_environment(machine.devices)}
    nodes = Nodes(
        config_path,
        count=machine.nodes,
        endpoint=options["rendezvous"],
        node_rank=options["node_rank"],
        devices=machine.devices,
        join_timeout_s=options["join_timeout_s"],
    )
    spec = WorkerSpec(
        role="anchor",
        local_world_size=machine.devices,
        entrypoint=sys.executable,
        args=(*WORKER, str(config_path)),
        rdzv_handler=nodes,
        max_restarts=options["max_restarts"],
        monitor_interval=0.1,
    )
    agent = Agent(spec, nodes, run_dir, environment, options["stop_timeout_s"], spares, limits)
    (run_dir / RESULT).unlink(missing_ok=True)
    try:
        with _signals_to(agent):
            agent.run()
    except Interrupted as stop:
        raise _interrupted(stop.number, stop.at_once, nodes.round) from None
    except EndedError:
        agent.failures = nodes.exchange(None)
    finally:
        nodes.shutdown()
    failures = agent.failures
    if failures:
        first = failures[0]
        if first.status in STOPPED or agent.stop is not None:
            if first.text and first.status not in STOPPED and not first.is_sentence:
                say(show(first, failures[1:], log_path(run_dir, first.rank)))
            raise _stopped(first, agent.stop, options["stop_timeout_s"])
        if first.is_sentence:
            raise JobError(first.exit_status, first.text)
        say(show(first, failures[1:], log_path(run_dir, first.rank)))
        last = first.text.strip().rpartition("\n")[2] or describe_status(first.status)
        raise JobError(first.exit_status, f"{first.who} ended the run: {last}")
    if agent.stop is not None and not (run_dir / RESULT).is_file():
        raise _interrupted(agent.stop, False, nodes.round)
    until = time.monotonic() + RESULT_S
    while not (run_dir / RESULT).is_file():  # another node's rank 0 wrote it
        if time.monotonic() > until:
            raise JobError(1, f"all ranks left, and none of them wrote {run_dir / RESULT}")
        time.sleep(0.2)
    return json.loads((run_dir / RESULT).read_text(encoding="utf-8"))


@contextmanager
def _signals_to(agent: Any) -> Iterator[None]:
    """Give the agent the signals that stop a run; a sweep may run jobs in threads, which get none."""
    from launch.stops import STATUSES

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in STATUSES if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, agent.catch) for number in caught}
    is_asked = False
    if callable(signal.getsignal(signal.SIGUSR2)):  # submitit's: it puts the job back into SLURM's queue, and exits

        def save_first(number: int, frame: Any) -> None:
            nonlocal is_asked
            is_asked = True
            agent.catch(signal.SIGUSR1, frame)

        before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, save_first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if is_asked:
            os.kill(os.getpid(), signal.SIGUSR2)


def loading_environment(devices: int) -> dict[str, str]:
    """What a rank's libraries read as they load, where ``devices`` ranks share this machine."""
    # Half of the logical cores: hyper-threads and loaders want the rest, and threads that wait spin.
    threads = max(1, (os.cpu_count() or 1) // (2 * devices))
    return {
        "PYTHONSAFEPATH": "1",  # a folder named launch where the user stands must not hide ours
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads),
        AGENT_PID: str(os.getpid()),
    }


def _interrupted(number: int, at_once: bool, restart: int) -> StoppedError:
    if at_once:
        return StoppedError(130, "ended at once by a second Ctrl-C; the same run_dir with resume=auto goes on")
    status = 75 if number == signal.SIGUSR1 else 128 + number
    if restart > 0:
        text = f"stopped by {_name(number)} before restart {restart}; the same run_dir goes on from its last checkpoint"
        return StoppedError(status, text)
    return StoppedError(status, f"stopped by {_name(number)} before the first step; nothing was to be saved")


def _stopped(first: Failure, number: int | None, stop_timeout_s: float) -> StoppedError:
    by = f"by {_name(number)}" if number is not None else "on a rank"
    if first.status in STOPPED:
        return StoppedError(first.status, f"stopped {by}")
    if first.status == -signal.SIGKILL:
        return StoppedError(137, f"stopped {by}, and killed after {stop_timeout_s:.0f} s; the last checkpoint stands")
    if number is not None and not first.text:
        status = 75 if number == signal.SIGUSR1 else 128 + number
        return StoppedError(status, f"stopped {by} before it could save; the same run_dir with resume=auto goes on")
    last = first.text.strip().rpartition("\n")[2]
    return StoppedError(first.exit_status, f"stopped {by}, and {first.who} failed while it left: {last}")


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
