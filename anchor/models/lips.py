"""How a person's lips stand, read off pictures by a linear map: landmarks that gradients go through.

Shape suffixes: N pictures, C colour, h W lower half, P numbers of a small mouth, K lip measures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.ops.images import mouth_crop

__all__ = ["LipReader", "fit_lip_reader"]

BLOCK = 4  # px, as the other measures of motion see the mouth; 2 and 8 read the lips less well
# Of the small mouth's variance. One man's minute, 315 frames of the first 50 s to read the last 10 s: .1 gives r = .90,
# .91 and .87 with the landmarks' opening, width and height; .01 and 1 give .89, .91, .86 and .89, .89, .85.
RIDGE = 0.1


class LipReader(nn.Module):
    """Lower halves (N, 3, h, W) in [-1, 1] to lip measures (N, K), in spreads of the person's own around their mean."""

    mean_P: Tensor
    weights_PK: Tensor

    def __init__(self, mean_P: Tensor, weights_PK: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_P", mean_P)
        self.register_buffer("weights_PK", weights_PK)

    def forward(self, half_NChW: Tensor) -> Tensor:
        """(N, K)."""
        with torch.autocast(half_NChW.device.type, enabled=False):
            return (_small_mouth(half_NChW) - self.mean_P) @ self.weights_PK


def fit_lip_reader(half_NChW: Tensor, lips_NK: Tensor) -> LipReader:
    """The ridge regression from pictures (N, 3, h, W) in [-1, 1] to measures (N, K) that marks gave them.

    Pictures count as they are and in the mirror, as training shows them: a measure must be the same in both.
    """
    mouth_NP = torch.cat([_small_mouth(half_NChW), _small_mouth(half_NChW.flip(-1))]).double()
    lips_NK = ((lips_NK - lips_NK.mean(0)) / lips_NK.std(0).clamp_min(1e-6)).double().repeat(2, 1)
    mean_P = mouth_NP.mean(0)
    moved_NP = mouth_NP - mean_P
    square_PP = moved_NP.T @ moved_NP
    square_PP.diagonal().add_(RIDGE * square_PP.diagonal().mean())
    return LipReader(mean_P.float(), torch.linalg.solve(square_PP, moved_NP.T @ lips_NK).float())


def _small_mouth(half_NChW: Tensor) -> Tensor:
    """The mouth's box as means of 4 x 4 pixels, (N, P)."""
    return F.avg_pool2d(mouth_crop(half_NChW).float(), BLOCK).flatten(1)
