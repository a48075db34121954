"""A loss or a gradient that is no number: no rank takes that step, and the windows are named."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from anchor.batch import LipBatch, select
from anchor.errors import ConfigError, TrainingError
from lightning_modules.callbacks.events import add_event
from lightning_modules.callbacks.place import accumulation_of, batches_seen

__all__ = ["FiniteLoss", "describe_batches", "was_skipped"]

MAX_NAMED = 4  # windows in the sentence; the record names up to MAX_LISTED
MAX_LISTED = 256
DATA, LOSS, GRADIENTS = "data", "loss", "gradients"  # what is no number, the cause first


class FiniteLoss(Callback):
    """Leave a step out, on all ranks, whose loss or gradients are nan or infinite; end the run when it happens often.

    A loss that is no number turns its gradient into nan, which the ranks' sum carries to every rank: so all of them see
    the same in the gradients and no message is needed. Where cards share the network, each has a part of them, and they
    ask one another. A step that is left out changes no weight, no moment or count of the optimizer, no running
    statistic and no average; it counts as a step of the plan, and its windows as consumed. With 16-mixed gradients that
    overflow are the loss scale's business, as ever: only a loss that is no number counts here.

    Each is said on the terminal and written to ``record``: its batch, what was no number, and the windows, those that
    hold it if there are any. Logs ``train/skipped_steps``, how many so far.

    Args:
        max_skipped: more steps than that within the last ``within`` batches end the run; 0 allows none.
        within: batches.
        record: the file, JSON lines; None writes none.

    Raises:
        TrainingError: too many, on every rank; the checkpoint before the last of them stands.
    """

    def __init__(self, max_skipped: int = 5, within: int = 100, record: str | None = None) -> None:
        for name, value, least in (("max_skipped", max_skipped, 0), ("within", within, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"callbacks.finite.{name}={value!r} is no count. Give a whole number from {least}.")
        self.max_skipped, self.within = max_skipped, within
        self.record = Path(record) if record else None
        self.skipped = 0  # since training began
        self.recent: deque[int] = deque(maxlen=max_skipped + 1)  # batches of the last ones
        self.is_skipped = False  # the present step
        self._batches: list[
            tuple[LipBatch, list[Tensor]]
        ] = []  # of the present step, and whether their losses are finite
        self._buffers: list[Tensor] = []  # running statistics and the like,
        self._before: list[Tensor] = []  # and what they were before the step

    def state_dict(self) -> dict[str, Any]:
        """How many, and when."""
        return {"skipped": self.skipped, "recent": list(self.recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]
        self.recent.extend(state_dict["recent"])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: LipBatch, batch_idx: int
    ) -> None:
        """Whose loss comes next; before a step's first batch, the running statistics are kept."""
        if accumulation_of(trainer).position == 0:
            self._batches, self.is_skipped = [], False
            self._keep_buffers(pl_module)
        self._batches.append((batch, []))

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Let a loss that is no number tell the gradients of every rank; nothing waits for a card."""
        if not self._batches or not loss.requires_grad:
            return
        is_finite = torch.isfinite(loss.detach())
        self._batches[-1][1].append(is_finite)
        loss.register_hook(lambda slope: torch.where(is_finite, slope, torch.nan))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Take the step away, where it is none."""
        if not self._batches or self._are_finite(trainer, optimizer):
            return
        has_scaler = getattr(trainer.precision_plugin, "scaler", None) is not None
        if has_scaler and not self._is_loss_bad(trainer):
            return  # it is about to skip this step by itself, and to try a smaller scale
        if not has_scaler:
            optimizer.zero_grad(set_to_none=True)  # an optimizer passes over what has no gradient
        self.is_skipped = True

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Put back what the pass forwards has changed, and count; nothing is kept beyond a step."""
        if self.is_skipped and self._batches:
            _copy(self._before, self._buffers)
            self._count(trainer)
        if accumulation_of(trainer).is_last:
            self._batches = []
        if self.skipped:
            pl_module.log("train/skipped_steps", float(self.skipped))

    def _keep_buffers(self, module: L.LightningModule) -> None:
        found = [
            buffer
            for part in module.modules()
            if part.training
            for buffer in part.buffers(recurse=False)
            if buffer.is_floating_point()  # what counts steps counts this one too
        ]
        if list(map(id, found)) == list(map(id, self._buffers)):
            _copy(self._buffers, self._before)
        else:
            self._buffers, self._before = found, [buffer.detach().clone() for buffer in found]

    def _are_finite(self, trainer: L.Trainer, optimizer: Optimizer) -> bool:
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not gradients:
            return True
        parts = [getattr(gradient, "_local_tensor", gradient) for gradient in gradients]  # of a sharded one, ours
        norms = torch.stack([norm.float() for norm in torch._foreach_norm(parts)])  # many times quicker than isfinite
        is_finite = bool(torch.isfinite(norms).all()) or all(bool(torch.isfinite(part).all()) for part in parts)
        if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy)):
            return bool(trainer.strategy.reduce_boolean_decision(is_finite, all=True))
        return is_finite

    def _is_loss_bad(self, trainer: L.Trainer) -> bool:
        mine = all(bool(flag.all()) for _, flags in self._batches for flag in flags)
        return not trainer.strategy.reduce_boolean_decision(mine, all=True)

    def _count(self, trainer: L.Trainer) -> None:
        self.skipped += 1
        step = batches_seen(trainer)
        self.recent.append(step)
        found = [self._examine(trainer)]
        if trainer.world_size > 1:
            everybody: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everybody, found[0])
            found = everybody
        what, windows, total = join(found)
        sentence = describe_batches(step, what, windows, total)
        is_end = len(self.recent) > self.max_skipped and step - self.recent[0] < self.within
        if trainer.is_global_zero:
            event = {"kind": "skipped", "step": step, "what": what, "windows": windows[:MAX_LISTED]}
            add_event(self.record, event)
            if not is_end:
                print(f"\nanchor train: {sentence} No rank takes this step.", file=sys.stderr, flush=True)
        if is_end:
            many = f"It makes {len(self.recent)} steps within {self.within} batches, and" if self.max_skipped else "It"
            raise TrainingError(f"{sentence} {many} ends the run; the last checkpoint stands. {ADVICE[what]}")

    def _examine(self, trainer: L.Trainer) -> tuple[str, list[tuple[str, int]], int]:
        """What is no number in this rank's part, and the windows that may have brought it."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        source = getattr(datamodule, "source", None)
        clips = select(source.clips, "train") if source is not None else []
        total = sum(len(batch["clip_B"]) for batch, _ in self._batches)
        bad = [batch for batch, flags in self._batches if not all(bool(flag.all()) for flag in flags)]
        torn = [(batch, torn_B) for batch, _ in self._batches if (torn_B := find_torn(batch)).any()]
        if torn:
            return DATA, [name for batch, torn_B in torn for name in name_windows(batch, torn_B, clips)], total
        what, suspects = (LOSS, bad) if bad else (GRADIENTS, [batch for batch, _ in self._batches])
        return what, [name for batch in suspects for name in name_windows(batch, batch["clip_B"] >= 0, clips)], total


ADVICE = {
    DATA: "Run `anchor shards verify`, and make these clips anew with `anchor preprocess`.",
    LOSS: "Lower module.lr=, or give accelerator.precision=32-true; trainer.detect_anomaly=true names the operation.",
}
ADVICE[GRADIENTS] = ADVICE[LOSS]


def was_skipped(trainer: L.Trainer) -> bool:
    """Whether no weight has learnt from the present step."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(callback.is_skipped for callback in callbacks if isinstance(callback, FiniteLoss))


def find_torn(batch: LipBatch) -> Tensor:
    """Which windows hold something that is no number; bool (B,) on the CPU."""
    torn_B = torch.zeros(len(batch["clip_B"]), dtype=torch.bool)
    for value in batch.values():
        if isinstance(value, Tensor) and value.is_floating_point():
            torn_B |= ~torch.isfinite(value).reshape(len(value), -1).all(1).cpu()
    return torn_B


def name_windows(batch: LipBatch, chosen_B: Tensor, clips: Any) -> list[tuple[str, int]]:
    """``(clip, frame)`` of the chosen windows."""
    rows = zip(batch["clip_B"].tolist(), batch["frame_B"].tolist(), chosen_B.tolist(), strict=True)
    return [(clips[clip].key if clip < len(clips) else str(clip), frame) for clip, frame, chosen in rows if chosen]


def join(found: list[tuple[str, list[tuple[str, int]], int]]) -> tuple[str, list[tuple[str, int]], int]:
    """Of all ranks' findings those nearest the cause: data before losses, losses before gradients."""
    what = min((one[0] for one in found), key=(DATA, LOSS, GRADIENTS).index)
    return what, [name for one in found if one[0] == what for name in one[1]], sum(one[2] for one in found)


def describe_batches(step: int, what: str, windows: list[tuple[str, int]], total: int) -> str:
    """The sentence: what is no number, and in which windows."""
    more = f" and {len(windows) - MAX_NAMED} more" if len(windows) > MAX_NAMED else ""
    listed = "clip at frame: " + ", ".join(f"{key} at {frame}" for key, frame in windows[:MAX_NAMED]) + more
    if what == DATA:
        return f"batch {step}: the speech of {len(windows)} of {total} windows is nan or infinite ({listed})."
    noun = "the loss is" if what == LOSS else "a gradient is"
    return f"batch {step}: {noun} nan or infinite, and the windows are sound ({listed})."


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)
