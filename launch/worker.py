"""One process of a run: ``python -m launch.worker RUN_DIR/config.yaml`` under torch's elastic agent.

It reads the composed configuration and never composes; its rank comes from the environment that the agent, torchrun
or a scheduler sets.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from anchor.errors import AnchorError, ConfigError
from anchor.guard import check_packages

__all__ = ["AGENT_PID", "CONFIG_HASH", "RESULT", "hash_config", "leave", "main", "run"]

CONFIG_HASH = "ANCHOR_CONFIG_SHA256"  # what the parent composed, for every worker to compare
RESULT = "result.json"
QUARANTINE = "quarantine.jsonl"  # as conf/datamodule/windows.yaml names it
AGENT_PID = "ANCHOR_AGENT_PID"  # whose death ends the workers
PR_SET_PDEATHSIG = 1  # of Linux's prctl
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


def hash_config(path: Path) -> str:
    """SHA-256 of the configuration file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def die_with_parent() -> None:
    """Ask the system to end this process when its agent dies without a word; only Linux knows how.

    Workers have sessions of their own: after a SIGKILL of the agent they would train on, unseen, and write checkpoints
    over those of the run that the user starts next.
    """
    parent = int(os.environ.get(AGENT_PID) or os.getppid())  # it may have died before this process looked
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str] | None = None) -> int:
    """Train what the file describes; status 2 for what the user can mend."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        check_packages()
        if len(words) != 1 or not Path(words[0]).is_file():
            raise ConfigError(f"a worker takes the config.yaml of a run, and got {words}.")
        run(Path(words[0]))
    except AnchorError as error:
        print(f"anchor train: {error}", file=sys.stderr, flush=True)
        return 2
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(
            f"anchor train: {error.filename or Path(words[0]).parent} could not be written ({error.strerror}). "
            "Checkpoints written before stay; free some space or mend the folder, and the same command goes on.",
            file=sys.stderr,
            flush=True,
        )
        return 2
    return 0


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
    import lightning as L
    import torch
    from omegaconf import OmegaConf

    from anchor.models.sizes import show_size
    from datamodules.quarantine import count_damaged
    from launch.accelerators import resolve_machine
    from launch.build import build
    from launch.tracking.callback import close_trackers
    from lightning_modules.callbacks import batches_seen

    quieten()

    config: Any = OmegaConf.to_container(OmegaConf.load(config_path), resolve=True)
    machine = resolve_machine(config["accelerator"])
    if machine.name == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    L.seed_everything(config["seed"], workers=True, verbose=False)
    built = build(config, machine)
    trainer, run_dir = built.trainer, Path(config["run_dir"])
    if trainer.is_global_zero:
        print(f"anchor train: {show_size(built.module.net)}", file=sys.stderr)  # type: ignore[arg-type]
    if built.resume and trainer.is_global_zero:
        print(f"anchor train: going on from {built.resume}", file=sys.stderr)
    if not built.resume and trainer.is_global_zero:
        (run_dir / QUARANTINE).unlink(missing_ok=True)  # of a run that this one replaces
    trainer.fit(built.module, datamodule=built.datamodule, ckpt_path=built.resume, weights_only=True)
    last = run_dir / "checkpoints" / "last.ckpt"
    trainer.save_checkpoint(last)
    steps = batches_seen(trainer)
    scores: Mapping[str, Any] = {
        key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")
    }
    interval = config["trainer"]["val_check_interval"]
    if not scores or not isinstance(interval, int) or steps % interval:
        scores = next(iter(trainer.validate(built.module, datamodule=built.datamodule, verbose=False)), {})
    metrics = {key: float(value) for key, value in scores.items()}
    damaged = count_damaged(run_dir / QUARANTINE)
    result = {"checkpoint": str(last), "steps": steps, "damaged_windows": damaged, "metrics": metrics}
    if trainer.is_global_zero:
        (run_dir / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    close_trackers(trainer)
    return result


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
    die_with_parent()
    try:
        leave(main())
    except KeyboardInterrupt:
        leave(130)
