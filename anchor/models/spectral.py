"""Spectral normalisation from multiplications and sums alone, so that every card bears it.

Shape suffixes: O rows of the weight as a matrix (out channels), I columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["SpectralNorm", "spectral_norm"]

WARM_UP = 15  # power iterations before the first step, as PyTorch does


class SpectralNorm(nn.Module):
    """A weight over its largest singular value, found by power iteration (Miyato et al. 2018, arXiv 1802.05957).

    It computes what ``torch.nn.utils.parametrizations.spectral_norm`` does, and its state has the same names. That one
    calls ``vdot``, for which torch_mlu r2.4 has no kernel, and under autocast it estimates the singular value in half
    precision; this one stays in the weight's own.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight_OI = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(torch.randn_like(weight_OI[:, 0]), dim=0))
        self.register_buffer("_v", F.normalize(torch.randn_like(weight_OI[0]), dim=0))
        self._iterate(weight_OI, WARM_UP)

    @torch.no_grad()
    def _iterate(self, weight_OI: Tensor, times: int) -> None:
        for _ in range(times):
            self._u.copy_(F.normalize((weight_OI * self._v).sum(1), dim=0, eps=1e-12))
            self._v.copy_(F.normalize((weight_OI * self._u[:, None]).sum(0), dim=0, eps=1e-12))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight whose largest singular value is about 1; in training mode each call iterates once."""
        weight_OI = weight.flatten(1)
        if self.training:
            self._iterate(weight_OI.detach(), 1)
        u_O, v_I = self._u.clone(), self._v.clone()  # a later call moves them, and this one's gradient needs them
        return weight / (u_O * (weight_OI * v_I).sum(1)).sum()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored when a weight is assigned: itself."""
        return weight


def spectral_norm(layer: nn.Conv2d) -> nn.Conv2d:
    """``layer``, its weight normalised."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return layer
