"""The ranks of one node under torch's elastic agent: started, listened to, stopped, started again, never left over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.elastic.agent.server import SimpleElasticAgent, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.api import RunResult

from anchor.signals import is_output_closed, silence_output, tell
from launch.failures import BAD_INPUT, FAILURE_FILE, HUNG, STOPPED, Failure, find_first, read_failure, show
from launch.output import RankOutput, log_path
from launch.rendezvous import Nodes
from launch.spares import Spares, start_process
from launch.start import START
from launch.stops import STATUSES
from launch.watchdog import HEART_FILE, Limits, Watch
from launch.worker import AGENT_PID, RESTART

__all__ = ["Agent", "Interrupted"]

GRACE_S = 5.0  # from the first death of a rank until the others are killed; they may have words to say
STACKS_S = 2.0  # from the finding that a rank hangs until all are killed: their stacks come through pipes
LISTEN_S = 1.0  # how often other nodes are asked whether they have ended


class Interrupted(BaseException):
    """The user wants to stop while there are no ranks that could save, or a second time."""

    def __init__(self, number: int, at_once: bool) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.at_once = number, at_once


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    output: RankOutput
    words: Path  # where it leaves its failure
    ended_s: float | None = None  # since 1970, when it was noticed
    is_told: bool = False  # to stop
    is_killed: bool = False  # by us

    def poll(self) -> int | None:
        status = self.process.poll()
        if status is not None and self.ended_s is None:
            self.ended_s = time.time()
        return status

    def kill(self) -> None:
        """The process and its loaders, which are in its session."""
        self.is_killed = self.is_killed or self.process.poll() is None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Agent(SimpleElasticAgent):
    """Run ``spec`` once on each card of this node; the loop, the ranks' numbers and restarts are torch's.

    Args:
        spec: the command of a rank, how many, and how often all may be started again.
        nodes: the rendezvous, which is that of ``spec`` too.
        run_dir: where ``logs/`` goes.
        environment: of the ranks, besides what torch's agent gives them.
        stop_timeout_s: how long ranks may take to save and leave when they are told to.
        spares: processes that have begun to load already.
        limits: how long a rank may be silent.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        nodes: Nodes,
        run_dir: Path,
        environment: Mapping[str, str],
        stop_timeout_s: float,
        spares: Spares | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(spec, exit_barrier_timeout=30.0)
        self.nodes, self.run_dir, self.environment = nodes, run_dir, dict(environment)
        self.stop_timeout_s, self.spares = stop_timeout_s, spares
        self.ranks: list[_Rank] = []
        self.stop: int | None = None  # the signal that was passed on
        self.failures: list[Failure] = []  # of the last round, the first first
        self.watch, self._hung = Watch(limits or Limits()), list[Failure]()
        self._stop_until = self._dying_until = self._listened = 0.0
        self._folder = Path(tempfile.mkdtemp(prefix="anchor-agent-"))
        nodes.check_stop = self._check_stop

    # Signals.

    def catch(self, number: int, frame: FrameType | None = None) -> None:
        """Pass a signal on to every rank; the second Ctrl-C ends all at once.

        After SIGHUP nothing is said to a terminal that has gone.

        Raises:
            Interrupted: at the second Ctrl-C.
        """
        if number == signal.SIGHUP and is_output_closed():
            silence_output()
        if self.stop is not None:
            if number == signal.SIGINT:
                raise Interrupted(number, at_once=True)
            return
        self.stop, self._stop_until = number, time.monotonic() + self.stop_timeout_s
        self._pass_on()

    def _pass_on(self) -> None:
        for rank in self.ranks:
            if self.stop is not None and not rank.is_told and rank.process.poll() is None:
                rank.is_told = True
                with suppress(ProcessLookupError):
                    rank.process.send_signal(self.stop)

    def _check_stop(self) -> None:
        if self.stop is not None:
            raise Interrupted(self.stop, at_once=False)

    # What torch's agent leaves to us.

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        spec, restart = worker_group.spec, self.nodes.round
        self._remaining_restarts = max(0, spec.max_restarts - restart)  # of the whole job, whichever node asked
        self.failures, self._dying_until, self.ranks, self._hung = [], 0.0, [], []
        self.watch.clear()
        if self.stop is not None:  # it came while there was no rank to tell
            status = STATUSES[signal.Signals(self.stop)]
            self.nodes.exchange(Failure(-1, socket.gethostname(), status, time.time(), "", True))
            self._check_stop()
        log_heading = f"start on {socket.gethostname()}" + (
            f", restart {restart} of {spec.max_restarts}" * bool(restart)
        )
        for worker in worker_group.workers:
            words = self._folder / f"{restart}-{worker.global_rank}.json"
            self.watch.prepare(worker.global_rank, words.with_suffix(".heart"))
            environment = {
                **os.environ,
                **self.environment,
                "RANK": worker.global_rank,
                "LOCAL_RANK": worker.local_rank,
                "WORLD_SIZE": worker.world_size,
                "LOCAL_WORLD_SIZE": spec.local_world_size,
                "GROUP_RANK": worker_group.group_rank,
                "GROUP_WORLD_SIZE": worker_group.group_world_size,
                "MASTER_ADDR": worker_group.master_addr,
                "MASTER_PORT": worker_group.master_port,
                "TORCHELASTIC_RUN_ID": spec.rdzv_handler.get_run_id(),
                "TORCHELASTIC_RESTART_COUNT": restart,
                "TORCHELASTIC_MAX_RESTARTS": spec.max_restarts,
                "TORCHELASTIC_USE_AGENT_STORE": spec.rdzv_handler.use_agent_store,
                "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
                AGENT_PID: os.getpid(),
                FAILURE_FILE: words,
                HEART_FILE: words.with_suffix(".heart"),
                START: spec.rdzv_handler.get_run_id(),
                RESTART: f"{restart}/{spec.max_restarts}",
            }
            if worker.global_rank == 0 and sys.stderr.isatty():
                environment["ANCHOR_TTY_COLUMNS"] = shutil.get_terminal_size().columns
            process = self.spares.take(spec.args[-1], environment) if self.spares else None
            if process is None:
                process = start_process([str(spec.entrypoint), *spec.args], environment, subprocess.DEVNULL)
            output = RankOutput(worker.global_rank, log_path(self.run_dir, worker.global_rank), log_heading)
            for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                assert source is not None
                output.follow(source, sink)
            self.ranks.append(_Rank(worker.global_rank, process, output, words))
            self.watch.add(worker.global_rank, process.pid)
            self._pass_on()  # a signal may have come since the process began to be made
        if self.spares:
            self.spares.close()  # more than there are ranks, and restarts take none
        return {i: rank.process.pid for i, rank in enumerate(self.ranks)}

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        statuses = [rank.poll() for rank in self.ranks]
        bad = [status for status in statuses if status]
        now = time.monotonic()
        self.nodes.beat()
        if None not in statuses and not bad and self.nodes.finish():
            return RunResult(WorkerState.SUCCEEDED, {rank.number: None for rank in self.ranks})
        if not self._dying_until and self._is_hanging():
            self._dying_until = now + STACKS_S
        if not self._dying_until and (bad or self._is_ended_elsewhere(now)):
            is_stop = bool(bad) and all(status in STOPPED for status in bad)
            self._dying_until = now + (max(self.stop_timeout_s, GRACE_S) if is_stop else GRACE_S)
        if self._dying_until and any(status not in (None, 0, *STOPPED) for status in statuses):
            self._dying_until = min(self._dying_until, now + GRACE_S)  # one died while the others saved
        until = min((limit for limit in (self._dying_until, self._stop_until) if limit), default=None)
        is_over = bool(self._dying_until) and None not in statuses
        if until is None or not (is_over or now > until):
            return RunResult(WorkerState.HEALTHY)
        is_final = self.stop is not None or any(status in (BAD_INPUT, *STOPPED) for status in bad)
        may_restart = not is_final and bool(bad or self._hung)
        if not may_restart or self.nodes.is_closed():
            self._remaining_restarts = 0
        self._kill()
        self._collect()
        if self._remaining_restarts and self.failures:
            restart = f"restart {self.nodes.round + 1} of {worker_group.spec.max_restarts}"
            say(show(self.failures[0], self.failures[1:], log_path(self.run_dir, self.failures[0].rank)))
            say(f"{restart}: all ranks start again, from the newest checkpoint.")
        return RunResult(WorkerState.FAILED)

    def _stop_workers(self, worker_group: WorkerGroup, is_restart: bool = False) -> None:
        """End this node's ranks; there is nothing that they could save without the others."""
        self._kill()

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, is_restart: bool = False) -> None:
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._store = self._worker_group.store = None  # that they do not keep the port

    # Endings.

    def _is_ended_elsewhere(self, now: float) -> bool:
        if now - self._listened < LISTEN_S:
            return False
        self._listened = now
        if not self.nodes.is_closed():
            return False
        if self.watch.is_silent():  # the other node's agent was the first to say that a rank hangs
            self.watch.ask_for_stacks()
        return True

    def _is_hanging(self) -> bool:
        """Whether ranks of this node hang; then their stacks are on their way."""
        if self.stop is not None:  # who is told to stop has a time of its own
            return False
        hang = self.watch.find({rank.number for rank in self.ranks if rank.process.poll() is None})
        if hang is None:
            return False
        self.watch.ask_for_stacks()
        self._hung = [Failure(hang.rank, socket.gethostname(), HUNG, time.time(), hang.sentence, True)]
        return True

    def _kill(self) -> None:
        for rank in self.ranks:
            rank.kill()
        for rank in self.ranks:
            rank.process.wait()
            rank.poll()
        for rank in self.ranks:
            rank.output.close()

    def _collect(self) -> None:
        """Why ranks ended, those of other nodes too where the job ends; into their logs what they left word of."""
        own = list(self._hung)
        for rank in self.ranks:
            status = rank.process.returncode
            if status == 0 or (rank.is_killed and not rank.words.exists()):
                continue
            failure = read_failure(rank.words, rank.number, status, rank.ended_s or time.time())
            with suppress(OSError), log_path(self.run_dir, rank.number).open("a", encoding="utf-8") as log:
                log.write(f"{failure.text}\n--- ended with status {status}\n")
            own.append(failure)
        if not own and self.stop is not None:  # none has left by itself
            own = [Failure(rank.number, socket.gethostname(), -signal.SIGKILL, time.time()) for rank in self.ranks[:1]]
        first = find_first(own) if own else None
        others = self.nodes.exchange(first) if not self._remaining_restarts else []
        everybody = [*own, *others]
        if everybody:
            first = find_first(everybody)
            self.failures = [first, *(one for one in sorted(everybody, key=lambda f: f.time_s) if one is not first)]


def say(text: str) -> None:
    """On the terminal, with our name in front."""
    tell(f"anchor train: {text}", is_trouble=True)
