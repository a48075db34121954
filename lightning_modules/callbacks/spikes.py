"""Losses that jump out of their own past: said with their step, and never a reason to stop."""

from __future__ import annotations

import math
import statistics
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from anchor.errors import ConfigError
from lightning_modules.callbacks.events import add_event
from lightning_modules.callbacks.finite import was_skipped
from lightning_modules.callbacks.place import batches_seen

__all__ = ["LossSpikes", "find_spike"]

BY_HAND = ("train/d_loss", "train/l1")  # what QualityModule minimises, in its two turns
NORMAL = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
FEWEST = 30  # values before which a median says little


class LossSpikes(Callback):
    """Compare each training loss with the median of its last values, in median absolute deviations.

    Both are robust: a spike does not move what the next one is measured by. Looked at is the whole loss, or where a
    stage runs its optimizers by hand the losses that it shows, as the mean over ranks; every ``every`` batches at once,
    so that no step waits for a card. A loss that stays up is said once. Logs ``train/loss_spikes``, how many so far.

    Args:
        deviations: from where a value is a spike, in deviations as a normal distribution has them.
        at_least: and at least so many times the median: a loss that hardly moves has tiny deviations.
        window: batches that the median is of.
        every: batches from one look to the next.
        record: the file of events, JSON lines; None writes none.
    """

    def __init__(
        self,
        deviations: float = 10.0,
        at_least: float = 1.5,
        window: int = 200,
        every: int = 10,
        record: str | None = None,
    ) -> None:
        given = {"deviations": deviations, "at_least": at_least, "every": every, "window": window}
        for name, value in given.items():
            least = FEWEST if name == "window" else 1
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
                raise ConfigError(f"callbacks.spikes.{name}={value!r} cannot be. Give a number from {least} on.")
        self.deviations, self.at_least, self.every = deviations, at_least, int(every)
        self.record = Path(record) if record else None
        self.past: dict[str, deque[float]] = {}
        self.window, self.spikes = int(window), 0
        self._up: set[str] = set()  # what was said to be up, and has not come down
        self._recent: list[tuple[int, Tensor]] = []  # batch, and the losses of ``_keys``
        self._keys: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """The past of each loss."""
        return {"past": {key: list(values) for key, values in self.past.items()}, "spikes": self.spikes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.past = {key: deque(values, maxlen=self.window) for key, values in state_dict["past"].items()}
        self.spikes = state_dict["spikes"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the losses, and look at them now and then."""
        if not was_skipped(trainer):
            self._keep(trainer, pl_module, outputs)
        if batches_seen(trainer) % self.every == 0 and self._recent:
            self._look(trainer)
        if self.spikes:
            pl_module.log("train/loss_spikes", float(self.spikes))

    def _keep(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any) -> None:
        losses = {"loss": outputs["loss"]} if isinstance(outputs, Mapping) and "loss" in outputs else {}
        if not module.automatic_optimization:
            losses = {key: value for key, value in trainer.callback_metrics.items() if key in BY_HAND}
        if not losses:
            return
        if list(losses) != self._keys:
            self._recent, self._keys = [], list(losses)
        self._recent.append((batches_seen(trainer), torch.stack([value.float() for value in losses.values()])))

    def _look(self, trainer: L.Trainer) -> None:
        steps, values_TK = [step for step, _ in self._recent], torch.stack([values for _, values in self._recent])
        self._recent = []
        if trainer.world_size > 1:
            values_TK = trainer.strategy.reduce(values_TK.detach(), reduce_op="mean")
        for step, values in zip(steps, values_TK.tolist(), strict=True):
            for key, value in zip(self._keys, values, strict=True):
                past = self.past.setdefault(key, deque(maxlen=self.window))
                found = find_spike(value, past, self.deviations, self.at_least)
                past.append(value)
                if found is None:
                    self._up.discard(key)
                elif key not in self._up:
                    self._up.add(key)
                    self._tell(trainer, step, key, value, *found)

    def _tell(self, trainer: L.Trainer, step: int, key: str, value: float, median: float, deviations: float) -> None:
        self.spikes += 1
        if not trainer.is_global_zero:
            return
        kept = len(self.past[key])
        add_event(self.record, {"kind": "spike", "step": step, "loss": key, "value": value, "median": median})
        print(
            f"\nanchor train: batch {step}: {key} {value:.4g} is a spike, {deviations:.0f} deviations above "
            f"{median:.4g}, the median of the {kept} before it. Training goes on; if it does not come down, lower "
            "module.lr= or trainer.gradient_clip_val=.",
            file=sys.stderr,
            flush=True,
        )


def find_spike(value: float, past: Sequence[float], deviations: float, at_least: float) -> tuple[float, float] | None:
    """``(median, deviations above it)`` where ``value`` is a spike after ``past``, else None.

    The deviation is the median absolute one, scaled to a normal distribution's; of losses about a value that does not
    move it may be tiny, so a thousandth of the median is the least.
    """
    if len(past) < FEWEST or not math.isfinite(value):
        return None
    median = statistics.median(past)
    spread = NORMAL * statistics.median([abs(one - median) for one in past])
    above = (value - median) / max(spread, 1e-3 * abs(median), 1e-12)
    return (median, above) if above > deviations and value > median + (at_least - 1) * abs(median) else None
