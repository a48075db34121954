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
from lightning_modules.callbacks.place import batches_done, batches_seen

__all__ = ["MetricsRecord"]


class MetricsRecord(Callback):
    """Append every logged number to ``<run_dir>/metrics.jsonl``: the run's own record, whatever tracker is used.

    Each line is one JSON object with ``step`` (batches seen), ``epoch``, ``seconds`` since the start, and the metrics.
    A run that is stopped or fails ends with a line without metrics, how far it came; one that goes on drops that line.
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
        before: list[dict[str, Any]] = []
        if trainer.is_global_zero and self.path.is_file():
            before = [record for record in read_records(self.path) if record["step"] <= batches_seen(trainer)]
        kept = [record for record in before if not is_mark(record)]
        if trainer.is_global_zero and self.path.is_file():
            write_whole(self.path, "".join(f"{json.dumps(record)}\n" for record in kept))
        validated = [record["step"] for record in kept if any(key.startswith("val/") for key in record)]
        self.validated = validated[-1] if validated else -1
        before_s = before[-1].get("seconds", 0.0) if before else 0.0
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

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Where it ended, unless no step was done."""
        if trainer.is_global_zero and batches_done(trainer):
            self._append(trainer, batches_done(trainer), {})

    def _write(self, trainer: L.Trainer, prefix: str) -> None:
        if not trainer.is_global_zero:
            return
        scores = {key: _plain(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
        if scores:
            self._append(trainer, batches_seen(trainer), scores)

    def _append(self, trainer: L.Trainer, step: int, scores: dict[str, float | None]) -> None:
        seconds = round(time.monotonic() - self.started, 2)
        record = {"step": step, "epoch": trainer.current_epoch, "seconds": seconds, **scores}
        is_new = not self._waiting
        self._waiting += json.dumps(record) + "\n"
        try:
            append_whole(self.path, self._waiting)
            self._waiting = ""
        except OSError as error:
            if is_new:
                said = f"{self.path} cannot be written ({error.strerror}); its lines wait in memory."
                print(f"\nanchor train: {said}", file=sys.stderr, flush=True)


def is_mark(record: dict[str, Any]) -> bool:
    """Whether a line says nothing but how far the run came."""
    return not record.keys() - {"step", "epoch", "seconds"}


def _plain(value: Tensor | float) -> float | None:
    """A number that JSON knows: what is not finite becomes null."""
    return round(float(value), 6) if math.isfinite(float(value)) else None
