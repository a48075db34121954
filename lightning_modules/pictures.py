"""What the GAN stage asks of a picture beside passing for real: its pixels, its detail, how it moves and trembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from anchor.losses import edge_loss, feature_loss, jitter_loss, motion_loss, pyramid_loss, weighted_l1

__all__ = ["Detail", "Reconstruction"]

Detail = Literal["edges", "pyramid"]


@dataclass(frozen=True)
class Reconstruction:
    """The weighted sum of the losses that compare a drawn window with the real one."""

    detail: Detail
    detail_weight: float
    detail_levels: int
    motion_weight: float
    jitter_weight: float
    perceptual: nn.Module | None
    perceptual_weight: float

    def loss(self, output: Tensor, real: Tensor, mouth_weight_hW: Tensor, weight_B: Tensor) -> tuple[Tensor, Tensor]:
        """``(sum, l1)`` of windows (B, T, C, h, W)."""
        l1 = weighted_l1(output, real, mouth_weight_hW, weight_B)
        compare = edge_loss if self.detail == "edges" else pyramid_loss
        total = l1 + self.detail_weight * compare(output, real, weight_B, levels=self.detail_levels)
        if self.motion_weight > 0:
            total = total + self.motion_weight * motion_loss(output, real, mouth_weight_hW, weight_B)
        if self.jitter_weight > 0:
            total = total + self.jitter_weight * jitter_loss(output, real, mouth_weight_hW, weight_B)
        if self.perceptual is not None and self.perceptual_weight > 0:
            self.perceptual.to(output.device)  # it is no part of the module, so no trainer moves it
            seen, wanted = (self.perceptual(pictures.flatten(0, 1)) for pictures in (output, real))
            total = total + self.perceptual_weight * feature_loss(seen, [one.detach() for one in wanted], weight_B)
        return total, l1
