"""How the learning rate runs: a linear warm-up, then a shape that the configuration names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from anchor.errors import ConfigError
from lightning_modules.callbacks.place import steps_planned
from lightning_modules.fused import fuse

__all__ = ["Schedule", "as_schedule", "scheduled"]

SHAPES = ("cosine", "constant", "linear", "exponential", "step")


@dataclass(frozen=True)
class Schedule:
    """A shape of the learning rate over the steps of its optimizer.

    Args:
        name: ``cosine`` and ``linear`` come down to ``floor`` at the run's last step, ``constant`` stays,
            ``exponential`` falls by ``gamma`` in every ``every_steps`` evenly, ``step`` at their end at once.
        floor: the last learning rate as a share of the highest.
        gamma, every_steps: as above.

    Raises:
        ConfigError: another name, or a number out of range.
    """

    name: str = "cosine"
    floor: float = 0.02
    gamma: float = 0.5
    every_steps: int = 1000

    def __post_init__(self) -> None:
        if self.name not in SHAPES:
            raise ConfigError(f"module.schedule.name={self.name} is unknown. Choose one of {', '.join(SHAPES)}.")
        for key, low in (("floor", 0.0), ("gamma", 1e-9)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= 1:
                raise ConfigError(f"module.schedule.{key}={value!r} is no share. Give a number from 0 to 1.")
        if isinstance(self.every_steps, bool) or not isinstance(self.every_steps, int) or self.every_steps < 1:
            raise ConfigError(f"module.schedule.every_steps={self.every_steps!r} is no number of steps of 1 or more.")

    def factor(self, warmup_steps: int, total_steps: float) -> Callable[[int], float]:
        """The factor on the learning rate after each step; without an end ``cosine`` and ``linear`` stay at 1."""

        def at(step: int) -> float:
            return min(1.0, (step + 1) / max(1, warmup_steps)) * self._shape(step, total_steps)

        return at

    def _shape(self, step: int, total_steps: float) -> float:
        done = 0.0 if math.isinf(total_steps) else min(1.0, step / max(1, total_steps))
        if self.name == "cosine":
            return max(self.floor, 0.5 * (1 + math.cos(math.pi * done)))
        if self.name == "linear":
            return max(self.floor, 1 - done)
        if self.name == "exponential":
            return self.gamma ** (step / self.every_steps)
        if self.name == "step":
            return self.gamma ** (step // self.every_steps)
        return 1.0


def as_schedule(schedule: str | Mapping[str, Any]) -> Schedule:
    """A schedule from its name, or from its name and numbers.

    Raises:
        ConfigError: it is not known.
    """
    try:
        return Schedule(**({"name": schedule} if isinstance(schedule, str) else schedule))
    except TypeError:
        raise ConfigError(
            f"module.schedule={schedule} is no schedule. Give one of {', '.join(SHAPES)}, or a mapping of name, floor, "
            "gamma and every_steps."
        ) from None


def scheduled(
    module: L.LightningModule, optimizer: Optimizer, schedule: Schedule, warmup_steps: int
) -> OptimizerLRSchedulerConfig:
    """``optimizer``, fused where that pays, with ``schedule`` over the steps that the trainer plans."""
    fuse(optimizer)
    factor = schedule.factor(warmup_steps, steps_planned(module.trainer))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
