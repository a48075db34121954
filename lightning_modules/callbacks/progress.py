"""Progress on the terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_modules.callbacks.place import batches_planned, batches_seen

__all__ = ["ProgressLines"]


class ProgressLines(Callback):
    """One line every few seconds: step, rate, time left and the losses; a line that renews itself on a terminal."""

    def __init__(self, every_s: float = 5.0) -> None:
        self.every_s = every_s
        self.started = self.shown = 0.0
        self.first_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here."""
        self.started = self.shown = time.monotonic()
        self.first_step = batches_seen(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show where training stands, not more often than asked."""
        now = time.monotonic()
        every_s = 0.5 if sys.stderr.isatty() else self.every_s
        if trainer.is_global_zero and now - self.shown >= every_s:
            self.shown = now
            self._show(trainer, now)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation scores deserve a line of their own."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            scores = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
            self._print(f"  {type(pl_module).__name__} step {batches_seen(trainer)}: {_scores(scores)}", last=True)

    def _show(self, trainer: L.Trainer, now: float) -> None:
        step, total = batches_seen(trainer), batches_planned(trainer)
        rate = (step - self.first_step) / max(1e-9, now - self.started)
        left = f", {(total - step) / rate:.0f} s left" if rate > 0 and math.isfinite(total) else ""
        of = f"/{total:.0f}" if math.isfinite(total) else ""
        self._print(f"  step {step}{of}, {rate:.1f}/s{left}: {_scores(trainer.progress_bar_metrics)}")

    def _print(self, text: str, last: bool = False) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K" + text, end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _scores(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{key} {float(value):.4f}" for key, value in sorted(metrics.items()) if key != "v_num")
