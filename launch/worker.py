"""One process of a run: ``python -m launch.worker RUN_DIR/config.yaml`` under torch's elastic agent.

It reads the composed configuration and never composes; its rank comes from the environment that the agent, torchrun
or a scheduler sets.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import hashlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from anchor.errors import AnchorError, ConfigError
from anchor.files import write_json
from anchor.guard import check_packages
from launch.agreement import DisagreementError, compare_ranks
from launch.failures import BAD_INPUT, report, speaks_of_another
from launch.limits import allow_files, explain_files, explain_folder
from launch.spares import SPARE, wait_for_order
from launch.start import START, name_start
from launch.stops import STOP, STOP_TIMEOUT_S, StoppedError, catch_signals
from launch.watchdog import HEART, Limits, show_stacks_at

__all__ = ["AGENT_PID", "CONFIG_HASH", "RESTART", "RESULT", "hash_config", "leave", "main", "run"]

CONFIG_HASH = "ANCHOR_CONFIG_SHA256"  # what the parent composed, for every worker to compare
RESULT = "result.json"
QUARANTINE = "quarantine.jsonl"  # as conf/datamodule/windows.yaml names it
AGENT_PID = "ANCHOR_AGENT_PID"  # whose death ends the workers
RESTART = "ANCHOR_RESTART"  # "k/N": all ranks were started again k times of N
MEET_S = 300.0  # how long ranks that were started by hand wait for each other
PR_SET_PDEATHSIG = 1  # of Linux's prctl

_stores: list[Any] = []


def hash_config(path: Path) -> str:
    """SHA-256 of the configuration file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def die_with_parent() -> None:
    """Ask the system to end this process when its agent dies without a word; only Linux knows how.

    Workers have sessions of their own: after a SIGKILL of the agent they would train on, unseen, and write checkpoints
    over those of the run that the user starts next. A worker that was started by hand lives on without its shell.
    """
    agent = os.environ.get(AGENT_PID)  # torchrun does not tell its own; it may have died before this process looked
    if agent is None and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = int(agent) if agent else os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str] | None = None) -> int:
    """Train what the file describes; status 2 for what the user can mend."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        check_packages()
        allow_files()
        if words == [SPARE]:
            words = [wait_for_order()]
        if len(words) != 1 or not Path(words[0]).is_file():
            raise ConfigError(f"a worker takes the config.yaml of a run, and got {words}.")
        run(Path(words[0]))
    except StoppedError as stop:
        if os.environ.get("RANK", "0") == "0":
            print(f"anchor train: {stop}.", file=sys.stderr, flush=True)
        return int(stop.code or 1)
    except AnchorError as error:
        is_said = isinstance(error, DisagreementError) and os.environ.get("RANK", "0") != "0"  # rank 0 says it for all
        return _fail(str(error), BAD_INPUT, is_sentence=True, is_known=is_said)
    except OSError as error:
        sentence = explain_folder(error, Path(words[0]).absolute().parent) or explain_files(error)
        return _fail(sentence, BAD_INPUT, is_sentence=True) if sentence else _fail(traceback.format_exc(), 1)
    except Exception as error:
        is_echo = int(os.environ.get("WORLD_SIZE", "1")) > 1 and isinstance(error, RuntimeError)
        if STOP.number is not None and is_echo and speaks_of_another(str(error)):
            print("anchor train: stopped; another rank had left before, and nothing more was saved.", file=sys.stderr)
            return STOP.status
        from launch.accelerators import explain_memory
        from launch.networks import explain_failure

        if sentence := explain_memory(error) or explain_failure(error) or explain_files(error):
            return _fail(sentence, BAD_INPUT, is_sentence=True)
        return _fail(traceback.format_exc(), 1)
    return 0


def _fail(text: str, status: int, is_sentence: bool = False, is_known: bool = False) -> int:
    """Say it to the agent, which tells the user once; without one, or where it cannot be reached, to the terminal."""
    if not report(text, status, is_sentence) and not is_known and not (is_sentence and _is_said(text)):
        print(f"anchor train: {text}" if is_sentence else text, file=sys.stderr, flush=True)
    return status


def _is_said(sentence: str) -> bool:
    """Whether another rank says this very sentence; nobody leaves it out where the ranks cannot ask each other."""
    for store in _stores:
        with contextlib.suppress(RuntimeError):  # who served it has left
            return store.add(f"said/{hashlib.sha256(sentence.encode()).hexdigest()}", 1) > 1
    return False


def leave(status: int) -> NoReturn:
    """End this process once every exit function has run, but before C++ tears its threads down.

    A rank that had finished its work was seen to abort in that last moment (``terminate called without an active
    exception``), which turned a good run into a failed one.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run(config_path: Path) -> dict[str, Any]:
    """Build, fit, validate once more, and leave ``checkpoints/last.ckpt`` and ``result.json`` in the run's folder."""
    expected = os.environ.get(CONFIG_HASH)
    if expected and expected != hash_config(config_path):
        raise ConfigError(
            f"{config_path} differs from what was composed. Start the run again, on a shared file system."
        )
    check_agreement(config_path)
    import lightning as L
    import torch
    from lightning.pytorch.profilers import PassThroughProfiler
    from omegaconf import OmegaConf

    from anchor.models.sizes import show_size
    from datamodules.quarantine import count_damaged
    from launch.accelerators import resolve_machine
    from launch.build import build
    from launch.checkpoints import LastCheckpoint, find_state, tidy
    from launch.output import log_path
    from launch.tracking.callback import closing_trackers
    from lightning_modules.callbacks import batches_seen

    quieten()

    config: Any = OmegaConf.to_container(OmegaConf.load(config_path), resolve=True)
    STOP.limit(float((config.get("launch") or {}).get("stop_timeout_s", STOP_TIMEOUT_S)))
    log = log_path(Path(config["run_dir"]), int(os.environ.get("RANK", "0")))
    HEART.start(Limits.of(config.get("watchdog")), log)
    machine = resolve_machine(config["accelerator"])
    check_world(machine.world_size, machine.devices)
    if machine.name == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    L.seed_everything(config["seed"], workers=True, verbose=False)
    if config.get("find_batch_size"):
        from launch.batch_size import find_batch_size

        HEART.rest()  # the search has no batches to count
        return _write_result(Path(config["run_dir"]), find_batch_size(config, machine))
    restart, _, restarts = os.environ.get(RESTART, "0/0").partition("/")
    built = build(config, machine)
    trainer, run_dir = built.trainer, Path(config["run_dir"])
    if trainer.is_global_zero:
        print(f"anchor train: {show_size(built.module.net)}", file=sys.stderr)  # type: ignore[arg-type]
    if restart != "0" and trainer.is_global_zero:
        where = "goes on" if built.resume.path else "has no checkpoint yet, and begins anew"
        print(f"anchor train: restart {restart} of {restarts} {where}", file=sys.stderr)
    resume = built.resume.path
    if trainer.is_global_zero:
        for warning in built.resume.warnings:
            print(f"anchor train: {warning}", file=sys.stderr)
        if resume:
            print(f"anchor train: going on from {resume}", file=sys.stderr)
        else:
            (run_dir / QUARANTINE).unlink(missing_ok=True)  # of a run that this one replaces
        tidy(config, built.resume)
    with closing_trackers(trainer):
        trainer.fit(built.module, datamodule=built.datamodule, ckpt_path=resume, weights_only=True)
        trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]  # its report is of training, and stands
        last = run_dir / "checkpoints" / "last.ckpt"
        trainer.save_or_fail(last)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.ask(trainer)
        steps = batches_seen(trainer)
        scores: Mapping[str, Any] = {
            key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")
        }
        interval = config["trainer"]["val_check_interval"]
        if not scores or not isinstance(interval, int) or steps % interval:
            scores = next(iter(trainer.validate(built.module, datamodule=built.datamodule, verbose=False)), {})
        metrics = {key: float(value) for key, value in scores.items()}
        damaged = count_damaged(run_dir / QUARANTINE)
        state = find_state(trainer)
        consumed = state.result if state is not None else {}
        result = {"checkpoint": str(last), "steps": steps, "damaged_windows": damaged, **consumed, "metrics": metrics}
        result["gates"] = (config.get("gates") or {}).get("verdicts", [])
        if trainer.is_global_zero:
            _write_result(run_dir, result)
    return result


def _write_result(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    write_json(run_dir / RESULT, result)  # whole: other nodes look for it
    return result


def check_world(world_size: int, devices: int) -> None:
    """See that there are as many ranks as the configuration was composed for.

    Raises:
        ConfigError: there are not.
    """
    ranks, here = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    if ranks != world_size or (here and here != devices):
        raise ConfigError(
            f"{ranks} ranks were started, {here or ranks} on this node, and the configuration is for {world_size}, "
            f"{devices} on each node. Start as many, or compose it again with accelerator.devices= and "
            "accelerator.nodes=."
        )


def check_agreement(config_path: Path) -> None:
    """See that all ranks run one thing, before any of them builds it, and name their start; our agents have done so.

    Raises:
        ConfigError: a rank runs something else, or the ranks do not find each other.
    """
    if os.environ.get(AGENT_PID):
        return
    start = name_start() or ""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        os.environ[START] = start
        return
    import torch.distributed as dist

    place = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')} MASTER_PORT={os.environ.get('MASTER_PORT')}"
    try:
        store, rank, world_size = next(iter(dist.rendezvous("env://", timeout=timedelta(seconds=MEET_S))))
        _stores.append(store)  # rank 0 serves the others with it, also the process group that Lightning makes
        compare_ranks(store, rank, world_size, config_path.read_text(encoding="utf-8"), MEET_S)
        if rank == 0:
            store.set("agreement/start", start)
        os.environ[START] = store.get("agreement/start").decode()
    except DisagreementError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        busy = " The port is in use: give another MASTER_PORT to every rank." if "in use" in str(error) else ""
        raise ConfigError(f"the ranks do not meet at {place} ({reason}).{busy}") from error


def quieten() -> None:
    """Silence advice that does not apply: our loaders and our schedules are meant as they are."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    unfit = (
        "does not have many workers",
        "in eval mode at the start",
        "Checkpoint directory",
        "Previous log files",
        "LeafSpec",
        "logging interval",
    )
    for text in (f".*{words}.*" for words in unfit):
        warnings.filterwarnings("ignore", text)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a pipe to the agent holds words back
    faulthandler.enable()
    show_stacks_at()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM sends submitit's to every process; the agent answers it
    die_with_parent()
    catch_signals()
    leave(main())
