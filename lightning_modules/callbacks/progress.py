"""Progress on the terminal: epoch, step, samples per second, losses, memory and the time left, within a line."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from anchor.batch import LipBatch
from lightning_modules.callbacks.memory import show_memory
from lightning_modules.callbacks.place import batches_left, batches_seen

__all__ = ["ProgressLines"]

COLUMNS = "ANCHOR_TTY_COLUMNS"  # width of the terminal to which a parent passes our bytes on
LINE = 80  # columns where there is no terminal
RENEW_S = 0.5
BAR = 24  # columns at most
DATA_WAIT = "train/data_wait"  # as LoaderWatch logs it
WORTH = 0.1  # of it


class Moment(NamedTuple):
    """How far training was at a time."""

    seconds: float  # spent on training, validation left out
    batches: int
    samples: float


class ProgressLines(Callback):
    """Rank 0's line: on a terminal one that renews itself with a bar, elsewhere a new one every ``every_s`` seconds.

    Samples are the windows that all ranks have learnt from; those that only fill a batch up are none. The time left
    counts what the last minute or so took for each batch, and the validations to come.
    """

    def __init__(self, every_s: float = 5.0) -> None:
        self.every_s = every_s
        self.shown = 0.0
        self._epoch = 0  # of the batch that was last; in the end the trainer names the next
        self._samples: Tensor | float = 0.0  # stays on the card until it is shown: no step waits for it
        self._paused_s = self._pause_began = self._validation_s = 0.0
        self._moments: deque[Moment] = deque(maxlen=20)

    @property
    def columns(self) -> int:
        """Width of the terminal that stderr leads to, 0 where it leads to none."""
        given = os.environ.get(COLUMNS, "")
        try:
            return max(40, int(given) if given.isdecimal() else os.get_terminal_size(sys.stderr.fileno()).columns)
        except (OSError, ValueError):  # no terminal; or a stderr without a number, as tests have it
            return 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time counts from here, also where a checkpoint is gone on from."""
        self.shown = time.monotonic()
        self._paused_s = self._samples = 0.0
        self._moments.clear()
        self._moments.append(self._now(trainer))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: LipBatch, batch_idx: int
    ) -> None:
        """Count, and show where training stands, not more often than asked."""
        if not trainer.is_global_zero:
            return
        self._samples, self._epoch = self._samples + count_samples(batch, trainer.world_size), trainer.current_epoch
        if time.monotonic() - self.shown >= (RENEW_S if self.columns else self.every_s):
            self.shown = time.monotonic()
            self._show(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the line as it ended."""
        if trainer.is_global_zero and batches_seen(trainer) > self._moments[0].batches:
            self._show(trainer, is_last=True)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock of training stands still."""
        self._pause_began = time.monotonic()

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """A long validation shows on a terminal where it is."""
        now = time.monotonic()
        if trainer.is_global_zero and self.columns and now - self.shown >= RENEW_S:
            self.shown = now
            total = trainer.num_val_batches[0] if trainer.num_val_batches else math.inf
            self._print(f"  validating: batch {args[2] + 1}{_of(total)}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation scores deserve a line of their own."""
        if trainer.sanity_checking:
            return
        self._validation_s = time.monotonic() - self._pause_began
        self._paused_s += self._validation_s
        if trainer.is_global_zero:
            scores = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
            words = [f"step {batches_seen(trainer)}:", *(f"{key} {float(scores[key]):.4f}" for key in sorted(scores))]
            self._print("\n".join(wrap(words, self.columns or LINE)), is_last=True)

    def _now(self, trainer: L.Trainer) -> Moment:
        return Moment(time.monotonic() - self._paused_s, batches_seen(trainer), float(self._samples))

    def _show(self, trainer: L.Trainer, is_last: bool = False) -> None:
        now, then = self._now(trainer), self._moments[0]
        self._moments.append(now)
        seconds = max(1e-9, now.seconds - then.seconds)
        left = batches_left(trainer)
        parts = [
            f"epoch {self._epoch} step {now.batches}{_of(now.batches + left)}",
            f"{_rate((now.samples - then.samples) / seconds)} samples/s",
            *_losses(trainer.progress_bar_metrics),
            show_memory(trainer.strategy.root_device) + _data_wait(trainer),
        ]
        if math.isfinite(left) and now.batches > then.batches:
            left_s = left * seconds / (now.batches - then.batches)
            left_s += left // (trainer.val_check_batch or math.inf) * self._validation_s  # None: by the clock
            parts.append("done" if is_last and not left else f"{show_seconds(left_s)} left")
        done = now.batches / (now.batches + left) if now.batches else 0.0
        self._print(fit_line(parts, self.columns or LINE, done if self.columns else None), is_last)

    def _print(self, text: str, is_last: bool = False) -> None:
        if self.columns:
            print("\r\x1b[K" + text, end="\n" if is_last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def count_samples(batch: LipBatch, world_size: int) -> Tensor | float:
    """Windows of the global batch that count, from one rank's part of it and without asking the others.

    Where windows only fill it up, the others weigh ``size / count`` each, so that their mean weight is 1; rank 0 has
    the first windows, and at least one that counts.
    """
    weight_B = batch["weight_B"]
    return len(weight_B) * world_size / weight_B.max()


def fit_line(parts: list[str], columns: int, done: float | None) -> str:
    """``parts`` within ``columns``: of the losses, between two in front and two behind, all but one give way first.

    With ``done``, a share of 1, what room there is becomes a bar; where there is too little, the line itself is one, in
    reverse video.
    """
    parts = list(parts)

    def is_long() -> bool:
        return len("  ".join(parts)) > columns - 3

    while len(parts) > 5 and is_long():
        parts.pop(-3)
    for place, word in ((1, " samples"), (0, "step "), (0, "epoch ")):
        if is_long():
            parts[place] = parts[place].replace(word, "")
    text = "  ".join(parts)
    bar = min(BAR, columns - len(text) - 7)
    if done is None or bar >= 6:
        full = round(bar * min(1.0, done or 0.0))
        drawn = "" if done is None else f"[{'=' * full}{' ' * (bar - full)}]  "
        return f"  {drawn}{text}"[: columns - 1]
    line = f"  {text}".ljust(columns - 1)[: columns - 1]
    full = round(len(line) * min(1.0, done))
    return f"\x1b[7m{line[:full]}\x1b[27m{line[full:]}"


def wrap(parts: list[str], columns: int) -> list[str]:
    """Lines of ``parts`` that are shorter than ``columns``; from the second on they stand further in."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + 2 + len(part) >= columns:
            lines.append("  ")
        lines[-1] += f"  {part}"
    return lines


def show_seconds(seconds: float) -> str:
    """``0:07``, ``12:40``, ``3:05:00`` or ``2 d 03:00``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"{hours // 24} d {hours % 24:02d}:{minute:02d}"


def _losses(metrics: dict[str, Any]) -> list[str]:
    """Training's own; validation has its line."""
    return [
        f"{key.removeprefix('train/')} {float(value):.4f}"
        for key, value in sorted(metrics.items())
        if key.startswith("train/")
    ]


def _data_wait(trainer: L.Trainer) -> str:
    """How much of the last interval training waited for data, where it is worth a word."""
    share = trainer.callback_metrics.get(DATA_WAIT)
    return f"  data {float(share):.0%}" if share is not None and float(share) >= WORTH else ""


def _of(total: float) -> str:
    return f"/{total:.0f}" if math.isfinite(total) else ""


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
