"""How much of training's time is spent waiting for data, and what to change when it is much."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from anchor.errors import ConfigError
from lightning_modules.callbacks.events import add_event
from lightning_modules.callbacks.place import batches_seen

__all__ = ["LoaderWatch"]


class LoaderWatch(Callback):
    """Measure the share of time that training waits for its loader, without validations and saves in between.

    The loader counts the seconds in which it was asked for a batch and had none (its ``waited_s``). Logs
    ``train/data_wait``, the share of the last ``every`` batches, from 0 to 1, as the rank that waits longest has it:
    the others wait for that one. The terminal's line shows it too, where it is a tenth or more. Once in a start, after
    a first interval that fills caches and queues, a share above ``warn_share`` is said with what to change.

    Args:
        every: batches of an interval.
        warn_share: from 0 to 1.
        least_s: seconds of training that a warning needs: a short run's share says little.
        record: the file of events, JSON lines; None writes none.
    """

    def __init__(
        self, every: int = 50, warn_share: float = 0.3, least_s: float = 60.0, record: str | None = None
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ConfigError(f"callbacks.loader.every={every!r} is no number of batches. Give 1 or more.")
        if isinstance(warn_share, bool) or not isinstance(warn_share, (int, float)) or not 0 <= warn_share <= 1:
            raise ConfigError(f"callbacks.loader.warn_share={warn_share!r} is no share. Give a number from 0 to 1.")
        self.every, self.warn_share, self.least_s = every, warn_share, least_s
        self.record = Path(record) if record else None
        self.share: float | None = None  # of the last whole interval
        self._is_said = False
        self._clock = _Clock()
        self._seconds = self._waited = 0.0  # since the first interval ended

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here."""
        self._clock = _Clock(waited_s(trainer))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """The end of an interval, now and then."""
        if batches_seen(trainer) % self.every == 0:
            is_first = self.share is None
            mine = self._clock.read(waited_s(trainer))
            self.share = mine[1] / max(mine[0], 1e-9)
            if trainer.world_size > 1:
                shares = trainer.strategy.reduce(torch.tensor(self.share), reduce_op="max")
                self.share = float(shares)
            pl_module.log("train/data_wait", self.share)
            if not is_first:
                self._seconds += mine[0]
                self._waited += mine[0] * self.share
                self._warn(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock stands still."""
        self._clock.pause()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """It runs again."""
        self._clock.go_on()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Nothing of this belongs into a checkpoint: it is of this machine."""

    def _warn(self, trainer: L.Trainer) -> None:
        share = self._waited / max(self._seconds, 1e-9)
        if self._is_said or self._seconds < self.least_s or share <= self.warn_share:
            return
        self._is_said = True
        if not trainer.is_global_zero:
            return
        advice = advise(getattr(trainer.train_dataloader, "num_workers", 0), trainer.strategy.root_device.type)
        add_event(self.record, {"kind": "starving", "step": batches_seen(trainer), "share": round(share, 4)})
        print(
            f"\nanchor train: batch {batches_seen(trainer)}: training waits for its data {share:.0%} of the time: "
            f"{advice}. See docs/reliability.md.",
            file=sys.stderr,
            flush=True,
        )


class _Clock:
    """Seconds of training and seconds of waiting since the last look."""

    def __init__(self, waited_s: float = 0.0) -> None:
        self._began, self._waited_s, self._paused_at, self._paused_s = time.monotonic(), waited_s, 0.0, 0.0

    def pause(self) -> None:
        self._paused_at = time.monotonic()

    def go_on(self) -> None:
        self._paused_s += time.monotonic() - self._paused_at

    def read(self, waited_s: float) -> tuple[float, float]:
        now = time.monotonic()
        found = now - self._began - self._paused_s, waited_s - self._waited_s
        self._began, self._waited_s, self._paused_s = now, waited_s, 0.0
        return found


def waited_s(trainer: L.Trainer) -> float:
    """Seconds that training has waited for its loader; 0 for a loader that does not count them."""
    return float(getattr(trainer.train_dataloader, "waited_s", 0.0))


def advise(num_workers: int, device: str) -> str:
    """What to change."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = "raise datamodule.cache_mb= if the decoded clips fit into memory"
    if device == "cpu" and num_workers >= 1:
        return f"loaders and training share {cores} cores; {memory}, or store smaller crops"
    more = max(1, min(2 * num_workers or 4, cores - 1))
    if more > num_workers:
        return f"set datamodule.num_workers={more} (now {num_workers}; {cores} cores are here), or {memory}"
    return (
        f"all {cores} cores load already; {memory}, store crops as JPEG and not as H.264, or put the shards on a "
        "faster disk"
    )
