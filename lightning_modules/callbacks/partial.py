"""The last step of an epoch, where an accumulation does not divide its batches."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from lightning_modules.callbacks.place import accumulated_batches, accumulation_of

__all__ = ["PartialSteps"]


class PartialSteps(Callback):
    """Make the gradients of a step of fewer batches the mean over those that it has.

    Lightning divides every batch's loss by ``accumulate_grad_batches``, also where an epoch ends before so many came:
    that step would count less, and less than ``gradient_clip_val`` means it to.
    """

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """After the gradients are whole and unscaled, before they are clipped."""
        size, planned = accumulation_of(trainer).size, accumulated_batches(trainer)
        if size == planned or not pl_module.automatic_optimization:
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(planned / size)
