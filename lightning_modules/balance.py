"""How loud the adversary may be beside the reconstruction: a measurement at the picture, now and then."""

from __future__ import annotations

import math
from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor, nn

__all__ = ["Balance"]

SCALE = 2.0**12  # gradients at pixels are about 1e-6, which fp16 cannot hold
MOST = 1e4  # as VQGAN bounds it


class Balance(nn.Module):
    """The ratio of two gradient norms at the drawn picture, reconstruction over adversary; checkpoints keep it.

    VQGAN (Esser et al. 2021, arXiv 2012.09841, eq. 7) multiplies the adversary's loss with this ratio at the last
    layer's weights, afresh in every step. Here it is taken where every generator has the same thing, at its picture;
    only every ``every`` steps, for it costs a further pass of the discriminators; and as a running mean, so that the
    weight does not tremble with the batch.

    Args:
        is_on: multiply with the ratio; else it is only measured, for whoever watches.
        every: steps from one measurement to the next.
        decay: what the running mean keeps at a measurement.
    """

    ratio: Tensor
    seen: Tensor

    def __init__(self, is_on: bool, every: int = 8, decay: float = 0.8) -> None:
        super().__init__()
        self.is_on, self.every, self.decay = is_on, every, decay
        self.register_buffer("ratio", torch.ones((), dtype=torch.float32))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def factor(self) -> float:
        """What the adversary's weight is multiplied with."""
        return float(self.ratio) if self.is_on else 1.0

    def share(self, weight: float) -> float:
        """The adversary's gradient norm at the picture over the reconstruction's, with ``weight`` on its loss."""
        return weight / max(1e-12, float(self.ratio))

    def measure(
        self,
        module: L.LightningModule,
        output: Tensor,
        reconstruct: Callable[[Tensor], Tensor],
        persuade: Callable[[Tensor], Tensor],
    ) -> None:
        """Take both gradients at ``output``, and the ratio of their norms over all ranks' pictures into the mean."""
        norms = []
        for lose in (reconstruct, persuade):
            picture = output.detach().requires_grad_()
            (slope,) = torch.autograd.grad(lose(picture) * SCALE, picture)
            norms.append(slope.float().norm())
        squares = module.trainer.strategy.reduce(torch.stack(norms).square(), reduce_op="sum")
        norms = list(squares.sqrt())
        ratio = (norms[0] / norms[1].clamp_min(1e-12)).clamp(max=MOST)
        if not math.isfinite(float(ratio)) or float(norms[0]) == 0:
            return  # an overflow, or nothing to be balanced against
        keep = self.decay if int(self.seen) else 0.0
        self.ratio.mul_(keep).add_(ratio.to(self.ratio), alpha=1 - keep)
        self.seen += 1
