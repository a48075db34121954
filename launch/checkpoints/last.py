"""The callback that keeps ``last.ckpt``: every so many steps, before each validation, and when asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from anchor.errors import ConfigError
from launch.checkpoints.names import LAST
from launch.checkpoints.place import is_between_optimizer_steps, is_validation_due
from launch.consensus import StopAgreement
from launch.stops import STOP, FetchInterruptedError, StoppedError
from lightning_modules.callbacks.place import batches_done, steps_taken

__all__ = ["LastCheckpoint"]

AGAIN = "the same command with resume=auto goes on, and with resume=none it begins anew"


class LastCheckpoint(Checkpoint):
    """Keep ``<dirpath>/last.ckpt``, from which a training goes on as if it had never stopped.

    It is written every ``every_n_train_steps`` optimizer steps, and before a validation, so that a stop or a crash
    during one loses no step. When a signal came to any rank, all ranks save after the same step and leave with
    :class:`~launch.stops.StoppedError`. In the middle of an accumulation nothing is saved: gradients are no part of a
    checkpoint, and a stop waits for their step. ``resume`` is the run's, for the words at a stop.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int = 100, resume: Any = "auto") -> None:
        if isinstance(every_n_train_steps, bool) or not isinstance(every_n_train_steps, int) or every_n_train_steps < 1:
            raise ConfigError(
                f"callbacks.last.every_n_train_steps={every_n_train_steps} is no number of steps. Give 1 or more."
            )
        self.path, self.every_n_train_steps = Path(dirpath) / LAST, every_n_train_steps
        self.again = "the same command goes on" if resume not in (None, "none", False) else AGAIN
        self.agreement = StopAgreement()
        self._saved_at = 0  # batches
        self._status = 0  # what all ranks will leave with, once a step is complete

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Join the other ranks."""
        self.agreement.set_up(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on there is something to save, and a slow loader may be given up on."""
        self._saved_at = batches_done(trainer)
        STOP.is_training = True
        loop: Any = trainer.fit_loop.epoch_loop
        before, after = loop._on_before_fetch, loop._on_after_fetch

        def begin_fetch() -> None:
            before()
            if self.agreement.is_next and is_between_optimizer_steps(trainer):
                STOP.begin_waiting()

        def end_fetch() -> None:
            STOP.is_waiting = False
            after()

        loop._on_before_fetch, loop._on_after_fetch = begin_fetch, end_fetch

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Leave before this batch, if that was agreed; it is given again to the run that goes on."""
        self._status = self._status or self.agreement.ask()
        if self._status and is_between_optimizer_steps(trainer):
            self._leave(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time, or where a validation follows."""
        is_time = steps_taken(trainer) % self.every_n_train_steps == 0
        if is_between_optimizer_steps(trainer) and (is_time or is_validation_due(trainer)):
            self._save(trainer, trainer.save_checkpoint)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave; what led here was saved before the validation."""
        if STOP.is_training:
            self._status = self._status or self.agreement.ask()
            if self._status:
                raise self._stopped(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """A loader that was given up on: the other ranks are asked to leave before the same batch."""
        STOP.is_waiting = False
        if isinstance(exception, FetchInterruptedError):
            self._status = self._status or self.agreement.ask(now=True)
            self._save(trainer, trainer.save_or_fail)  # type: ignore[attr-defined]
            exception.code, exception.message = self._status, str(self._stopped(trainer))

    def ask(self, trainer: L.Trainer) -> None:
        """Leave if any rank was asked to; everything is saved. All ranks call it at the same place.

        Raises:
            StoppedError: it was.
        """
        self._status = self._status or self.agreement.ask(now=True)
        if self._status:
            self._saved_at = batches_done(trainer)
            raise self._stopped(trainer)

    def _leave(self, trainer: L.Trainer) -> None:
        self._save(trainer, trainer.save_or_fail)  # type: ignore[attr-defined]
        raise self._stopped(trainer)

    def _save(self, trainer: L.Trainer, save: Callable[[Path], None]) -> None:
        if batches_done(trainer) != self._saved_at and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            save(self.path)
            self._saved_at = batches_done(trainer)

    def _stopped(self, trainer: L.Trainer) -> StoppedError:
        STOP.is_agreed = True
        done = batches_done(trainer)
        name = STOP.number.name if STOP.number is not None else "a signal to another rank"
        if self._saved_at == done:
            where = f"saved in {self.path}" if done else "nothing to save yet"
        else:
            where = f"the steps after {self._saved_at} will be done again"
        return StoppedError(self._status, f"stopped by {name} after {done} batches, {where}; {self.again}")
