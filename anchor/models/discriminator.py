"""The quality discriminator: is this lower half a photograph or a drawing of one? It never hears the speech.

Shape suffixes: N pictures, C colour, h W lower half.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from anchor.models.describe import network

__all__ = ["PatchDiscriminator"]


@network("discriminator")
class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches (PatchGAN, Isola et al. 2017, arXiv 1611.07004) with spectral norm.

    Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) keeps the gradient that the generator sees bounded.

    Args:
        widths: channels of each stage; every stage halves the picture.
    """

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip([3, *widths], widths, strict=False):
            layers += [spectral_norm(nn.Conv2d(in_channels, out_channels, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1)))

    def forward(self, mouth_N3hW: Tensor) -> Tensor:
        """Raw scores (N, 1, h', W') for lower halves in [-1, 1]; high means real."""
        return self.layers(mouth_N3hW)
