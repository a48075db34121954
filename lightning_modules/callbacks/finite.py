"""A loss that is no number: the run ends before a weight has learnt from it, and names the windows."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from anchor.batch import LipBatch, select
from anchor.errors import TrainingError
from lightning_modules.callbacks.place import batches_seen

__all__ = ["FiniteLoss"]

MAX_NAMED = 4  # windows in the sentence


class FiniteLoss(Callback):
    """Look at every loss before its backward pass; on a card, where looking waits for it, one batch later.

    Nothing that was learnt from such a loss is saved: a checkpoint that is being written is looked at first.

    Raises:
        TrainingError: a loss is nan or infinite; says in which batch, and which windows brought it.
    """

    def __init__(self) -> None:
        self._batch: LipBatch | None = None
        self._pending: tuple[Tensor, int, LipBatch] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: LipBatch, batch_idx: int
    ) -> None:
        """Whose loss comes next."""
        self._batch = batch

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """The loss of this batch on a CPU, that of the one before on a card."""
        if self._pending is not None and self._pending[1] != batches_seen(trainer):
            self._look(trainer)
        if self._batch is None:
            return
        is_finite = torch.isfinite(loss.detach()).all()
        if self._pending is not None:  # the other loss of a stage with two
            is_finite = is_finite & self._pending[0]
        self._pending = is_finite, batches_seen(trainer), self._batch
        if loss.device.type == "cpu":
            self._look(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Before anything is written."""
        self._look(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last batch."""
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        pending, self._pending = self._pending, None
        if pending is None or bool(pending[0]):
            return
        _, step, batch = pending
        datamodule: Any = getattr(trainer, "datamodule", None)
        source = getattr(datamodule, "source", None)
        clips = select(source.clips, "train") if source is not None else []
        raise TrainingError(describe_batch(batch, step, clips))


def describe_batch(batch: LipBatch, step: int, clips: Any) -> str:
    """The sentence: windows that hold what is no number, or all of the batch where the network made it."""
    bad_B = torch.zeros(len(batch["clip_B"]), dtype=torch.bool)
    for value in batch.values():
        if isinstance(value, Tensor) and value.is_floating_point():
            bad_B |= ~torch.isfinite(value).reshape(len(value), -1).all(1).cpu()
    is_data = bool(bad_B.any())
    chosen = torch.nonzero(bad_B if is_data else ~bad_B)[:, 0].tolist()
    numbers, frames = batch["clip_B"].tolist(), batch["frame_B"].tolist()
    names = [f"{clips[numbers[i]].key if numbers[i] < len(clips) else numbers[i]} at {frames[i]}" for i in chosen]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    listed = ", ".join(names[:MAX_NAMED]) + more
    saved = "Nothing of it was saved: the checkpoint before stands."
    if is_data:
        return (
            f"batch {step}: the speech of {len(names)} of {len(bad_B)} windows is nan or infinite (clip at frame: "
            f"{listed}). {saved} Run `anchor shards verify`, and make these clips anew with `anchor preprocess`."
        )
    return (
        f"batch {step}: the loss is nan or infinite, and the windows are sound (clip at frame: {listed}). {saved} "
        "Lower module.lr=, or give accelerator.precision=32-true; trainer.detect_anomaly=true names the operation."
    )
