"""Where training stands, in batches; optimizer steps are another count with accumulation or two optimizers."""

from __future__ import annotations

import math

import lightning as L

__all__ = ["batches_planned", "batches_seen"]


def batches_seen(trainer: L.Trainer) -> int:
    """Training batches since the run began; ``global_step`` counts every optimizer's step, which is not the same."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1 if trainer.fit_loop.epoch_loop.total_batch_idx >= 0 else 0


def batches_planned(trainer: L.Trainer) -> float:
    """Training batches of the whole run, ``inf`` without an end."""
    optimizers = 1 if trainer.lightning_module.automatic_optimization else len(trainer.optimizers)
    if trainer.max_steps > 0:
        return trainer.max_steps / optimizers
    return float(trainer.num_training_batches) * (trainer.max_epochs or math.inf)
