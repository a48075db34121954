"""Throughput of a card: time is read when the card is done, not when the work was handed over."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ThroughputMonitor

__all__ = ["MLUThroughputMonitor", "synchronize"]


def synchronize(device: torch.device) -> None:
    """Wait until everything that was handed to ``device`` is done; the CPU has nothing to wait for."""
    if device.type == "mlu":
        torch.mlu.synchronize(device)  # type: ignore[attr-defined]
    elif device.type == "cuda":
        torch.cuda.synchronize(device)


class MLUThroughputMonitor(ThroughputMonitor):
    """Lightning's monitor, which waits for CUDA only: without this it would measure how fast work is queued."""

    def _update(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, iter_num: int) -> None:
        synchronize(trainer.strategy.root_device)
        super()._update(trainer, pl_module, batch, iter_num)
