"""The exponential moving average of what a network learns."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor

from anchor.errors import ConfigError
from anchor.models import EMA_STATE
from lightning_modules.callbacks.finite import was_skipped

__all__ = ["WeightAverage"]


class WeightAverage(Callback):
    """Average ``pl_module.net`` after every optimizer step, and show the average to validation.

    Averaged are the parameters that learn and the running statistics beside them, in float32; frozen parts, experts and
    discriminators are not copied. Checkpoints hold the raw weights under ``state_dict`` and the averaged ones, by the
    same names, under ``ema_state_dict``: a run goes on with the first, and ``load_network`` takes the second where they
    are. So ``best.ckpt`` is the best by its averaged weights.

    Lightning's own ``EMAWeightAveraging`` copies the whole module, frozen parts and all, averages step counters as if
    they were weights, knows no warm-up, and forgets the raw weights when training ends, so that no run could go on.

    Args:
        decay: share of the average that a step keeps, from 0 to below 1.
        warm_up: keep less at first, ``(1 + n) / (10 + n)`` in step n while that is below ``decay``: an average of the
            first steps would be one of the weights that training began with.

    Raises:
        ConfigError: a decay out of range; or, when training begins, cards that share the network between them.
    """

    def __init__(self, decay: float = 0.999, warm_up: bool = True) -> None:
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1:
            raise ConfigError(f"callbacks.ema.decay={decay!r} is no share. Give a number from 0 to below 1.")
        self.decay, self.warm_up = decay, warm_up
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}  # while the network has the averaged weights
        self._restored: dict[str, Tensor] = {}
        self._seen_step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what cannot be averaged."""
        if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy)):
            raise ConfigError(
                "callbacks.ema does not work where the cards share the network (accelerator.strategy=fsdp): "
                "use accelerator.strategy=ddp, or train without it."
            )

    def state_dict(self) -> dict[str, Any]:
        """How many steps are in the average."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.updates = state_dict["updates"]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the averaged weights until the network has its device; a checkpoint without them begins an average."""
        self._restored = checkpoint.get(EMA_STATE, {})

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights as they are, or as the checkpoint has them."""
        self.average = {
            name: self._restored.get(name, value).detach().to(value.device, torch.float32, copy=True)
            for name, value in averaged_tensors(pl_module).items()
        }
        self._restored = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Steps count from here."""
        self._seen_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """One more step in the average, unless gradients are still gathered or the step was left out."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if was_skipped(trainer):
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warm_up else self.decay
        for name, value in averaged_tensors(pl_module).items():
            self.average[name].lerp_(value.float(), 1 - decay)
        self.updates += 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The averaged weights are judged."""
        if not self.average:  # a validation without training judges what it is given
            return
        live = averaged_tensors(pl_module)
        if trainer.world_size > 1:
            for name, value in live.items():
                if not value.requires_grad:  # running statistics follow each rank's own windows
                    torch.distributed.broadcast(self.average[name], src=0)
        self._raw = {name: value.detach().clone() for name, value in live.items()}
        _copy(self.average, live)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Training goes on with its own."""
        self._restore(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Whoever saves now finds the network as training left it."""
        self._restore(pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Both kinds of weights, also in the middle of a validation."""
        if self.average:
            checkpoint[EMA_STATE] = dict(self.average)
        checkpoint["state_dict"].update(self._raw)

    def _restore(self, module: L.LightningModule) -> None:
        if self._raw:
            _copy(self._raw, averaged_tensors(module))
            self._raw = {}


def averaged_tensors(module: L.LightningModule) -> dict[str, Tensor]:
    """What of ``module.net`` learns, by its names in the module's ``state_dict``; the running statistics included."""
    found: dict[str, Tensor] = {}
    for place, part in module.net.named_modules(prefix="net"):  # type: ignore[union-attr]
        learning = {name: value for name, value in part.named_parameters(recurse=False) if value.requires_grad}
        beside = part.named_buffers(recurse=False) if learning else []
        statistics = {name: value for name, value in beside if value.is_floating_point()}
        found.update({f"{place}.{name}": value for name, value in {**learning, **statistics}.items()})
    return found


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
