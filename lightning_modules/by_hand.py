"""What Lightning leaves to a stage that runs its optimizers by hand: accumulation over batches, and the loss scale."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import lightning as L
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from anchor.errors import ConfigError
from lightning_modules.callbacks.place import accumulation_of

__all__ = ["add_gradients", "check_accumulation", "check_clipping", "step_beside"]


def add_gradients(module: L.LightningModule, optimizer: Optimizer, loss: Tensor) -> None:
    """Those of the present batch, so that a step sees the mean over its batches; the ranks exchange with the last."""
    accumulation = accumulation_of(module.trainer)
    if accumulation.position == 0:
        optimizer.zero_grad()
    strategy = module.trainer.strategy
    alone: AbstractContextManager[None] = nullcontext()
    if isinstance(strategy, ParallelStrategy) and not accumulation.is_last:
        alone = strategy.block_backward_sync()
    with alone:
        module.manual_backward(loss / accumulation.size)


def step_beside(module: L.LightningModule, optimizer: Optimizer, other: nn.Module) -> None:
    """Step while ``other`` has gathered gradients of earlier batches and waits for one more.

    With 16-mixed a step may change the scale of the loss. What ``other`` holds was made with the old one, and its last
    gradients will come with the new one.
    """
    before = _loss_scale(module)
    optimizer.step()
    after = _loss_scale(module)
    if after != before:
        for parameter in other.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(after / before)


def check_accumulation(batches: int) -> int:
    """``batches`` if it is a whole number from 1 on.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
        raise ConfigError(f"trainer.accumulate_grad_batches={batches!r} is no number of batches. Give 1 or more.")
    return batches


def check_clipping(value: float | None, algorithm: str | None) -> tuple[float, str]:
    """Both, 0 where nothing is clipped.

    Raises:
        ConfigError: no number of at least 0, or no algorithm.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
        raise ConfigError(f"trainer.gradient_clip_val={value!r} is no number. Give one from 0 on, or null.")
    if algorithm not in (None, "norm", "value"):
        raise ConfigError(f"trainer.gradient_clip_algorithm={algorithm!r} is unknown. Choose norm or value.")
    return float(value or 0), algorithm or "norm"


def _loss_scale(module: L.LightningModule) -> float:
    """By how much 16-mixed has enlarged the gradients; 1 in every other precision."""
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    return float(scaler.get_scale()) if scaler is not None else 1.0
