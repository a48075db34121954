"""What makes a rank's heart beat: every batch, every part of one, every batch of a validation."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from launch.watchdog.heart import HEART, PLACES
from lightning_modules.callbacks.place import batches_seen

__all__ = ["Heartbeat"]

STARTS, WAITS, COMPUTES, GOES_BACK, STEPS, _, VALIDATES, ENDS = range(len(PLACES))


class Heartbeat(Callback):
    """Tell the watchdog where this rank stands.

    More time than a batch have the start (data, networks, the first messages between cards), the first batch and the
    first one of validation (compilation, the choice of kernels), and the end (trackers, the last save); saves say so
    themselves, in :class:`~launch.trainer.Trainer`.
    """

    def __init__(self) -> None:
        self._is_first, self._is_first_validation = True, True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The first batch is asked for."""
        HEART.beat(WAITS, batches_seen(trainer) + 1, slow=True)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """The batch is here."""
        HEART.beat(COMPUTES, batches_seen(trainer), slow=self._is_first)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """The loss is computed, or on a card will be."""
        HEART.beat(GOES_BACK, slow=self._is_first)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """The gradients are there, those of all ranks."""
        HEART.beat(STEPS, slow=self._is_first)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """The next batch is asked for."""
        self._is_first = False
        HEART.beat(WAITS, batches_seen(trainer) + 1)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Networks are seen in another mode for the first time."""
        HEART.beat(VALIDATES, slow=self._is_first_validation)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """One more."""
        self._is_first_validation = False
        HEART.beat(VALIDATES)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Training goes on."""
        HEART.beat(WAITS)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What is left is not counted in batches."""
        HEART.beat(ENDS, slow=True)
