"""How well a training has learnt, in each of its checkpoints: what the next stage asks at its gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from anchor.models import HELD_OUT
from lightning_modules.callbacks.place import batches_seen

__all__ = ["HeldOutScores"]


class HeldOutScores(Callback):
    """Write ``checkpoint["held_out"]``: the scores of the newest validation, and the ``gates`` passed before training.

    See :class:`anchor.models.HeldOut`.
    """

    def __init__(self, gates: Sequence[dict[str, Any]] = ()) -> None:
        self.record: dict[str, Any] = {"step": 0, "scores": {}, "gates": list(gates)}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that goes on has its scores until the next validation; the gates are those of this start."""
        held = checkpoint.get(HELD_OUT, {})
        self.record.update({key: held[key] for key in ("step", "scores") if key in held})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the numbers of this validation."""
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        if scores and not trainer.sanity_checking:
            self.record.update(step=batches_seen(trainer), scores=scores)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Beside the weights."""
        checkpoint[HELD_OUT] = dict(self.record)
