"""Nothing falls in silence: a trainer is asked what it would compute on, and answered with an error if it is no MLU."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.plugins.precision import FSDPPrecision, MixedPrecision

from launch.mlu.errors import MLUError
from launch.mlu.precision import ShardedPrecision, check_bfloat16

__all__ = ["check_trainer"]


def check_trainer(trainer: L.Trainer) -> None:
    """See that ``trainer`` computes on MLU cards, in the precision it was given, and talks between cards over CNCL.

    Raises:
        MLUError: it would compute elsewhere, in float32, or could not exchange tensors of a card.
    """
    device = trainer.strategy.root_device
    if device.type != "mlu":
        raise MLUError(f"The trainer would compute on {device}, and an MLU was asked for. Give a strategy for MLU.")
    plugin = trainer.strategy.precision_plugin
    precision = str(getattr(plugin, "precision", "32-true"))
    check_bfloat16(precision)
    at = plugin.device if isinstance(plugin, (MixedPrecision, ShardedPrecision)) else "mlu"
    is_foreign = isinstance(plugin, FSDPPrecision) and not isinstance(plugin, ShardedPrecision)
    if at != "mlu" or (is_foreign and "mixed" in precision):
        raise MLUError(
            f"precision={precision} is made for {'cuda' if is_foreign else at}; on an MLU the run would compute in "
            "float32. Give plugins=[make_precision(...)] or a strategy for MLU."
        )
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        backend = torch.distributed.get_backend_config()
        if "cncl" not in backend:
            raise MLUError(f"The processes are connected by {backend}, which moves nothing of an MLU. Use cncl.")
