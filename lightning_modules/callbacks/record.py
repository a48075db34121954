"""The run's own record: every logged number, whatever tracker is used."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_modules.callbacks.place import batches_seen

__all__ = ["MetricsRecord"]


class MetricsRecord(Callback):
    """Append every logged number to ``<run_dir>/metrics.jsonl``: the run's own record, whatever tracker is used.

    Each line is one JSON object with ``step`` (batches seen), ``epoch``, ``seconds`` since the start, and the metrics.
    """

    def __init__(self, run_dir: str, every_n_steps: int = 10) -> None:
        self.path, self.every_n_steps = Path(run_dir) / "metrics.jsonl", every_n_steps
        self.started = time.monotonic()
        self.validated = -1  # the last step whose validation stands there

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what led to the step that training goes on from, and drop what came after it."""
        kept: list[str] = []
        if trainer.is_global_zero and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= batches_seen(trainer)]
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        validated = [line["step"] for line in map(json.loads, kept) if any(key.startswith("val/") for key in line)]
        self.validated = validated[-1] if validated else -1
        before_s = json.loads(kept[-1])["seconds"] if kept else 0.0
        self.started = time.monotonic() - before_s

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Every few steps, the numbers of the step."""
        if batches_seen(trainer) % self.every_n_steps == 0:
            self._write(trainer, "train/")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After each validation, its numbers; one that a resume had to repeat stands there already."""
        if not trainer.sanity_checking and self.validated != batches_seen(trainer):
            self.validated = batches_seen(trainer)
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


def _plain(value: Tensor | float) -> float | None:
    """A number that JSON knows: what is not finite becomes null."""
    return round(float(value), 6) if math.isfinite(float(value)) else None
