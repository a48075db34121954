"""Whether a network can learn one batch by heart."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

__all__ = ["OverfitCheck"]

LOSSES = ("train/loss", "train/sync_loss", "train/l1")  # the first of them that a stage logs


class OverfitCheck(Callback):
    """End training when the loss of the repeated batches has fallen to ``share`` of its first value, and say so.

    The loss is the mean over the ranks: each has batches of its own, and all must end at the same step.
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self.name = ""
        self.first = self.least = float("inf")
        self.steps = 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Read the loss of the step."""
        self.name = self.name or next(name for name in LOSSES if name in trainer.callback_metrics)
        own = torch.tensor(float(trainer.callback_metrics[self.name]), device=trainer.strategy.root_device)
        loss = float(trainer.strategy.reduce(own, reduce_op="mean"))
        self.steps += 1
        self.first = loss if self.steps == 1 else self.first
        self.least = min(self.least, loss)
        trainer.should_stop = trainer.should_stop or self.least <= self.share * self.first

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The verdict."""
        if not trainer.is_global_zero or not self.steps:
            return
        has_learnt = self.least <= self.share * self.first
        verdict = (
            "it learns"
            if has_learnt
            else f"it should fall to {self.share * self.first:.4g}. Look at module.lr, the losses' weights and the data"
        )
        print(
            f"anchor train: overfit: {self.name} went from {self.first:.4g} to {self.least:.4g} "
            f"in {self.steps} batches: {verdict}.",
            file=sys.stderr,
        )
