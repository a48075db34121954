"""What ranks must have in common beside parameters."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

__all__ = ["SameBuffers"]


class SameBuffers(Callback):
    """Give every rank the buffers of rank 0 before validation and at the end: they are what its checkpoint holds.

    The statistics of batch normalisation follow each rank's own windows. DistributedDataParallel aligns them when the
    next training step begins, and never before a validation, whose score would be that of no network at all.
    """

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation judges the network that is saved."""
        self._align(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Training leaves the same network on every rank."""
        self._align(pl_module)

    def _align(self, module: torch.nn.Module) -> None:
        if not torch.distributed.is_initialized():
            return
        for buffer in module.buffers():
            if not hasattr(buffer, "full_tensor"):  # a sharded tensor has parts, and every rank its own
                torch.distributed.broadcast(buffer, src=0)
