"""What the watchdogs cost: their part of a training step.

    python benchmarks/watchdogs.py [models=tiny,wav2lip96] [steps=20]

Trains the generator of each model on drawn speakers with the watchdogs of conf/callbacks and the heart, on one thread
of a CPU, and adds up the processor time of this thread inside their hooks: on a CPU nothing of theirs happens
elsewhere but the nan that a loss carries to its gradients (one multiplication of one number). The first step is left
out. On a card the look at the gradients waits for the backward pass; that is not measured here.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from launch.accelerators import resolve_machine
from launch.build import build
from launch.watchdog import HEART, Limits

WATCHDOGS = ("Heartbeat", "FiniteLoss", "LossSpikes", "LoaderWatch")
HOOKS = ("on_train_batch_start", "on_before_backward", "on_before_optimizer_step", "on_train_batch_end")


def measured(do: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """``do``, whose processor time is added to ``spent[name]``."""

    def call(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return do(*arguments, **named)
        finally:
            spent[name] += time.thread_time() - began

    return call


class Steps(L.pytorch.callbacks.Callback):
    """Processor time from the end of the first step to the end of the last."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent, self.began, self.count = spent, 0.0, -1

    def on_train_batch_end(self, *_: Any) -> None:
        """Forget the first step."""
        self.count += 1
        if self.count == 0:
            self.spent.clear()
            self.began = time.thread_time()

    def on_train_end(self, *_: Any) -> None:
        """All."""
        self.seconds = time.thread_time() - self.began


def main(models: str = "tiny,wav2lip96", steps: str = "20") -> None:
    """Print a row for each model."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    print(f"python benchmarks/watchdogs.py models={models} steps={steps}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    torch.set_num_threads(1)
    for model in models.split(","):
        with tempfile.TemporaryDirectory() as folder, initialize_config_module("anchor.conf", version_base="1.3"):
            words = ["experiment=generator", f"model={model}", "accelerator=cpu", f"run_dir={folder}", "logger=none"]
            words += ["datamodule.speakers=4", "datamodule.val_speakers=1", f"trainer.max_steps={int(steps) + 1}"]
            words += ["trainer.limit_val_batches=0", "module.expert=null", "callbacks.last.every_n_train_steps=100000"]
            config: Any = OmegaConf.to_container(compose("train", words), resolve=True)
            run = build(config, resolve_machine(config["accelerator"]))
            spent: dict[str, float] = defaultdict(float)
            for callback in run.trainer.callbacks:  # type: ignore[attr-defined]
                if type(callback).__name__ in WATCHDOGS:
                    for hook in HOOKS:
                        setattr(callback, hook, measured(getattr(callback, hook), type(callback).__name__, spent))
            counted = Steps(spent)
            run.trainer.callbacks.insert(0, counted)  # type: ignore[attr-defined]
            os.environ["ANCHOR_HEART_FILE"] = str(Path(folder) / "heart")
            Path(folder, "heart").write_bytes(bytes(32))
            HEART.start(Limits())
            run.trainer.fit(run.module, datamodule=run.datamodule)
        each = ", ".join(f"{name} {1e6 * spent[name] / counted.count:.0f} us" for name in WATCHDOGS)
        share = sum(spent.values()) / counted.seconds
        print(f"{model}: {1e3 * counted.seconds / counted.count:.1f} ms a step; {each}; together {share:.2%}")


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
