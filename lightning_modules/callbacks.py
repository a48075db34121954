"""What runs beside training: the run's own record and its progress on the terminal."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

__all__ = ["MetricsRecord", "ProgressLines"]


class MetricsRecord(Callback):
    """Append every logged number to ``<run_dir>/metrics.jsonl``: the run's own record, whatever tracker is used.

    Each line is one JSON object with ``step`` (batches seen), ``epoch``, ``seconds`` since the start, and the metrics.
    """

    def __init__(self, run_dir: str, every_n_steps: int = 10) -> None:
        self.path, self.every_n_steps = Path(run_dir) / "metrics.jsonl", every_n_steps
        self.started = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what led to the step that training goes on from, and drop what came after it."""
        kept: list[str] = []
        if trainer.is_global_zero and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= batches_seen(trainer)]
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        before_s = json.loads(kept[-1])["seconds"] if kept else 0.0
        self.started = time.monotonic() - before_s

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Every few steps, the numbers of the step."""
        if batches_seen(trainer) % self.every_n_steps == 0:
            self._write(trainer, "train/")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After each validation, its numbers."""
        if not trainer.sanity_checking:
            self._write(trainer, "val/")

    def _write(self, trainer: L.Trainer, prefix: str) -> None:
        if not trainer.is_global_zero:
            return
        scores = {key: _plain(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
        if not scores:
            return
        seconds = round(time.monotonic() - self.started, 2)
        record = {"step": batches_seen(trainer), "epoch": trainer.current_epoch, "seconds": seconds, **scores}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class ProgressLines(Callback):
    """One line every few seconds: step, rate, time left and the losses; a line that renews itself on a terminal."""

    def __init__(self, every_s: float = 5.0) -> None:
        self.every_s = every_s
        self.started = self.shown = 0.0
        self.first_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here."""
        self.started = self.shown = time.monotonic()
        self.first_step = batches_seen(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show where training stands, not more often than asked."""
        now = time.monotonic()
        every_s = 0.5 if sys.stderr.isatty() else self.every_s
        if trainer.is_global_zero and now - self.shown >= every_s:
            self.shown = now
            self._show(trainer, now)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation scores deserve a line of their own."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            scores = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
            self._print(f"  {type(pl_module).__name__} step {batches_seen(trainer)}: {_scores(scores)}", last=True)

    def _show(self, trainer: L.Trainer, now: float) -> None:
        step, total = batches_seen(trainer), _planned_batches(trainer)
        rate = (step - self.first_step) / max(1e-9, now - self.started)
        left = f", {(total - step) / rate:.0f} s left" if rate > 0 and math.isfinite(total) else ""
        of = f"/{total:.0f}" if math.isfinite(total) else ""
        self._print(f"  step {step}{of}, {rate:.1f}/s{left}: {_scores(trainer.progress_bar_metrics)}")

    def _print(self, text: str, last: bool = False) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K" + text, end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def batches_seen(trainer: L.Trainer) -> int:
    """Training batches since the run began; ``global_step`` counts every optimizer's step, which is not the same."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1 if trainer.fit_loop.epoch_loop.total_batch_idx >= 0 else 0


def _planned_batches(trainer: L.Trainer) -> float:
    optimizers = 1 if trainer.lightning_module.automatic_optimization else len(trainer.optimizers)
    if trainer.max_steps > 0:
        return trainer.max_steps / optimizers
    return float(trainer.num_training_batches) * (trainer.max_epochs or math.inf)


def _scores(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{key} {_number(value):.4f}" for key, value in sorted(metrics.items()) if key != "v_num")


def _number(value: Tensor | float) -> float:
    return round(float(value), 6)


def _plain(value: Tensor | float) -> float | None:
    """A number that JSON knows: what is not finite becomes null."""
    return _number(value) if math.isfinite(float(value)) else None
