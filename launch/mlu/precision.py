"""Mixed precision on the card: autocast and scaler of the device ``mlu``.

Lightning makes both for ``cuda`` whatever the accelerator, and on an MLU they do nothing: training would go on in
float32, and only a warning would say so.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from lightning.pytorch.plugins.precision import FSDPPrecision, HalfPrecision, MixedPrecision, Precision
from torch import nn

from launch.mlu import library
from launch.mlu.errors import MLUError

__all__ = ["ShardedPrecision", "check_bfloat16", "make_precision", "on_card"]

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
SHORT = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def make_precision(precision: str | int, is_sharded: bool = False) -> Precision:
    """The plugin for ``precision`` on a card; ``is_sharded`` says that it is for FSDP.

    Raises:
        MLUError: an unknown precision, or bfloat16 on a card without it.
    """
    name = SHORT.get(str(precision), str(precision))
    if name not in PRECISIONS:
        raise MLUError(f"precision={precision} is unknown on an MLU. Choose one of {', '.join(PRECISIONS)}.")
    check_bfloat16(name)
    if is_sharded:
        return ShardedPrecision(name, "mlu")  # type: ignore[arg-type]
    return Precision() if name == "32-true" else MixedPrecision(name, device="mlu")  # type: ignore[arg-type]


def on_card(plugin: Precision | None) -> Precision | None:
    """``plugin``, or what does on a card what it does on CUDA.

    Raises:
        MLUError: it is for bfloat16, and the card has none.
    """
    if isinstance(plugin, (MixedPrecision, FSDPPrecision, HalfPrecision)):
        check_bfloat16(str(plugin.precision))
    if isinstance(plugin, MixedPrecision) and plugin.device != "mlu":
        return MixedPrecision(plugin.precision, device="mlu")  # type: ignore[arg-type]
    return plugin


def check_bfloat16(precision: str) -> None:
    """See that the card computes in bfloat16, if ``precision`` asks for it.

    Raises:
        MLUError: it does not; names the card.
    """
    if precision.startswith("bf16") and not library.has_bfloat16():
        raise MLUError(
            f"precision={precision}: {library.card_name()} has no bfloat16, as torch.mlu.is_bf16_supported() says. "
            "Use 16-mixed or 32-true."
        )


class ShardedPrecision(FSDPPrecision):
    """Lightning's precision for FSDP, with autocast and scaler of ``device`` and clipping by norm.

    The norm of a sharded gradient is known only to the root of the sharded module, which the strategy hands over as
    ``root``. Parameters are gathered and gradients reduced in float32, as without sharding: Lightning would also keep
    the running statistics of batch normalisation in 16 bits, where small updates vanish.
    """

    def __init__(self, precision: Literal["32-true", "16-mixed", "bf16-mixed"], device: str) -> None:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

        super().__init__(precision)
        self.device = device
        self.root: nn.Module | None = None
        if precision == "16-mixed":
            self.scaler = ShardedGradScaler(device=device)

    @property
    def mixed_precision_config(self) -> Any:
        """None: autocast alone chooses the precision of each operation."""
        return None

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast on the device."""
        if "mixed" not in self.precision:
            return super().forward_context()
        return torch.autocast(self.device, dtype=torch.bfloat16 if self.precision == "bf16-mixed" else torch.float16)

    def clip_grad_by_norm(self, optimizer: Any, clip_val: int | float) -> None:  # type: ignore[override]
        """Clip the norm of the whole gradient, over all shards."""
        assert self.root is not None, "the strategy hands the root over in its setup"
        self.root.clip_grad_norm_(clip_val)  # type: ignore[operator]
