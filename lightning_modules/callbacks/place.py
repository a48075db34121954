"""Where training stands: batches seen and planned, and whether an accumulation is under way.

Batches are what the loader gives. With accumulation an optimizer step takes several of them, and with two optimizers
``trainer.global_step`` counts both.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lightning as L

__all__ = [
    "Accumulation",
    "accumulated_batches",
    "accumulation_of",
    "batches_done",
    "batches_left",
    "batches_seen",
    "steps_planned",
    "steps_taken",
]


def batches_seen(trainer: L.Trainer) -> int:
    """Training batches since the run began, the present one among them.

    ``global_step`` counts every optimizer's step, which is not the same.
    """
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1 if trainer.fit_loop.epoch_loop.total_batch_idx >= 0 else 0


def batches_done(trainer: L.Trainer) -> int:
    """Batches that training has learnt from since it began."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return progress.total.processed


def accumulated_batches(trainer: L.Trainer) -> int:
    """Batches whose gradients make one step; a stage that optimises by hand counts for itself."""
    module = trainer.lightning_module
    by_hand = 0 if module.automatic_optimization else getattr(module, "accumulate_grad_batches", 1)
    return int(by_hand or trainer.accumulate_grad_batches)


class Accumulation(NamedTuple):
    """Where the present batch stands among those whose gradients make one step."""

    position: int  # from 0
    size: int  # batches of the step; an epoch's last step may have fewer than the others
    is_last: bool


def accumulation_of(trainer: L.Trainer) -> Accumulation:
    """The present batch's place, within ``training_step`` and until the next batch begins."""
    progress, per_step = trainer.fit_loop.epoch_loop.batch_progress, accumulated_batches(trainer)
    place, per_epoch = max(0, progress.current.ready - 1), trainer.num_training_batches
    if math.isfinite(per_epoch):
        place %= int(per_epoch)  # a run that goes on from an epoch's end counts its first batch beyond it
    position = place % per_step
    if progress.is_last_batch:
        return Accumulation(position, position + 1, True)
    size = int(min(per_step, per_epoch - (place - position)))
    return Accumulation(position, size, position + 1 == size)


def steps_taken(trainer: L.Trainer) -> int:
    """Steps of each optimizer so far."""
    return trainer.global_step // _optimizers(trainer)


def steps_planned(trainer: L.Trainer) -> float:
    """Steps of each optimizer in the whole run, as ``max_steps`` and ``max_epochs`` end it; ``inf`` without an end."""
    steps = trainer.max_steps / _optimizers(trainer) if trainer.max_steps >= 0 else math.inf
    epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
    if math.isinf(epochs):
        return steps
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()  # as Lightning's own estimate does
    return min(steps, epochs * math.ceil(trainer.num_training_batches / accumulated_batches(trainer)))


def batches_left(trainer: L.Trainer) -> float:
    """Batches until ``max_steps`` or ``max_epochs`` ends the run; ``inf`` without an end."""
    per_epoch, per_step = float(trainer.num_training_batches), accumulated_batches(trainer)
    in_epoch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    if in_epoch >= per_epoch:  # the next one begins
        in_epoch = 0
    pending = in_epoch % per_step  # batches of a step that is not taken yet
    left = math.inf
    if trainer.max_steps >= 0:
        steps = trainer.max_steps // _optimizers(trainer) - steps_taken(trainer)
        left = _batches_of(steps, in_epoch - pending, per_epoch, per_step) - pending
    if trainer.max_epochs not in (None, -1):
        left = min(left, trainer.max_epochs * per_epoch - batches_seen(trainer))
    return max(0.0, left)


def _batches_of(steps: int, start: int, per_epoch: float, per_step: int) -> float:
    """Batches of ``steps`` steps from batch ``start`` of an epoch on; an epoch's last step takes what is left of it."""
    if math.isinf(per_epoch):
        return float(steps * per_step)
    rest = per_epoch - start
    steps_in_rest = math.ceil(rest / per_step)
    if steps <= steps_in_rest:
        return min(rest, steps * per_step)
    epochs, steps = divmod(steps - steps_in_rest, math.ceil(per_epoch / per_step))
    return rest + epochs * per_epoch + min(per_epoch, steps * per_step)


def _optimizers(trainer: L.Trainer) -> int:
    """How many optimizers ``global_step`` counts."""
    if trainer.lightning_module.automatic_optimization:
        return 1
    return max(1, len(trainer.optimizers) or getattr(trainer.lightning_module, "num_optimizers", 1))
