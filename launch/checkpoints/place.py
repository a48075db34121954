"""Where a training stands in Lightning's loops, said so that it goes on from there exactly.

Lightning 2.6 saves its counters as they happen to be: inside a step, inside a validation, after the end. What it
makes of them on a resume leaves a due validation out, counts a logger's step twice or takes a batch more at an
epoch's end. Here every checkpoint says the same: that many batches are done, a validation is due or is not.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from lightning_modules.callbacks.place import accumulated_batches, batches_done

__all__ = ["Place", "is_between_optimizer_steps", "is_validation_due"]


def is_between_optimizer_steps(trainer: L.Trainer) -> bool:
    """Whether no gradients wait for the rest of an accumulation: only then is a checkpoint everything."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    done = progress.current.processed
    return done % accumulated_batches(trainer) == 0 or done == trainer.num_training_batches


def is_validation_due(trainer: L.Trainer) -> bool:
    """Whether a validation follows the batch that has just been learnt from; the same on every rank."""
    loop = trainer.fit_loop
    if loop._data_fetcher is None or getattr(trainer, "_val_check_time_interval", None) is not None:
        return False  # by the clock it is nobody's to know
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


class Place:
    """Writes the loops' part of a checkpoint, and puts it into effect again."""

    def __init__(self) -> None:
        self.is_pending = False  # a validation is due that the checkpoint gone on from was written before
        self.is_validated = False  # the validation that runs has come to its end
        self._max_steps: int | None = None  # the trainer's, while it is set aside
        self._is_at_end = False  # of an epoch, with not even its validation left
        self._begun_at = 0  # batches when this process took over

    def write(self, trainer: L.Trainer, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Make ``checkpoint["loops"]`` say where training stands; returns what goes beside it."""
        state = checkpoint["loops"]["fit_loop"]
        progress = state["epoch_loop.batch_progress"]
        current = progress["current"]
        pending = self.is_pending
        if current["completed"] < current["processed"]:  # at the end of a step
            pending = is_validation_due(trainer)
        elif trainer.validating:
            pending = not self.is_validated
        elif batches_done(trainer) != self._begun_at and is_between_optimizer_steps(trainer):
            state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1  # a resume counts the last step once more
        if current["ready"] > current["processed"]:  # a batch was taken and will be given again
            progress["is_last_batch"] = False
        for part in ("total", "current"):
            done = progress[part]["processed"]
            progress[part].update(ready=done, started=done, completed=done)
        return {"is_validation_pending": pending, "batches": batches_done(trainer)}

    def load(self, held: dict[str, Any]) -> None:
        """Keep what ``write`` returned."""
        self.is_pending, self._begun_at = held["is_validation_pending"], held["batches"]

    def open_end(self, trainer: L.Trainer) -> None:
        """Let the loops run where all steps are done and only a validation is due; call it before they start."""
        if self.is_pending and self._max_steps is None:
            self._max_steps = trainer.fit_loop.epoch_loop.max_steps
            trainer.fit_loop.epoch_loop.max_steps = -1

    def close_end(self, trainer: L.Trainer) -> None:
        """The steps have their end again."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
            self._max_steps = None

    def enter(self, trainer: L.Trainer) -> None:
        """Set the loops on their way, once their counters are loaded and before the first step."""
        loop = trainer.fit_loop.epoch_loop
        is_due = loop.restarting and is_validation_due(trainer)
        if self.is_pending and is_due:
            loop.val_loop._restart_stage = "restarted_mid_evaluation"  # so the validation comes first,
            loop.val_loop.restarting = False  # and as a whole
            return
        self.is_pending = False
        self.close_end(trainer)
        if loop.restarting:
            loop._restart_stage = "none"  # the batch is done, and a validation after it too
            if loop._num_ready_batches_reached():
                loop.val_loop._has_run = True  # the epoch has nothing left but its end,
                self._is_at_end = True

    def leave_epoch(self, trainer: L.Trainer) -> None:
        """After that end the next epoch begins as any other; call it there."""
        if self._is_at_end:
            trainer.fit_loop.epoch_loop.restarting = False  # Lightning forgets this after a batch, and there was none
            self._is_at_end = False
