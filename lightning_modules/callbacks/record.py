"""The run's own record: every logged number, whatever tracker is used."""

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

from anchor.files import append_whole, read_records, write_whole
from lightning_modules.callbacks.place import batches_seen

__all__ = ["MetricsRecord"]


class MetricsRecord(Callback):
    """Append every logged number to ``<run_dir>/metrics.jsonl``: the run's own record, whatever tracker is used.

    Each line is one JSON object with ``step`` (batches seen), ``epoch``, ``seconds`` since the start, and the metrics.
    Lines that a full disk does not take wait in memory, for no number is a reason to end a run: whether one ends is
    decided where a checkpoint cannot be written.
    """

    def __init__(self, run_dir: str, every_n_steps: int = 10) -> None:
        self.path, self.every_n_steps = Path(run_dir) / "metrics.jsonl", every_n_steps
        self.started = time.monotonic()
        self._waiting = ""  # lines
        self.validated = -1  # the last step whose validation stands there

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what led to the step that training goes on from, and drop what came after it."""
        kept: list[dict[str, Any]] = []
        if trainer.is_global_zero and self.path.is_file():
            kept = [record for record in read_records(self.path) if record["step"] <= batches_seen(trainer)]
            write_whole(self.path, "".join(f"{json.dumps(record)}\n" for record in kept))
        validated = [record["step"] for record in kept if any(key.startswith("val/") for key in record)]
        self.validated = validated[-1] if validated else -1
        before_s = kept[-1].get("seconds", 0.0) if kept else 0.0
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
        is_new = not self._waiting
        self._waiting += json.dumps(record) + "\n"
        try:
            append_whole(self.path, self._waiting)
            self._waiting = ""
        except OSError as error:
            if is_new:
                said = f"{self.path} cannot be written ({error.strerror}); its lines wait in memory."
                print(f"\nanchor train: {said}", file=sys.stderr, flush=True)


def _plain(value: Tensor | float) -> float | None:
    """A number that JSON knows: what is not finite becomes null."""
    return round(float(value), 6) if math.isfinite(float(value)) else None
