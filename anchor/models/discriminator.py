"""The quality discriminator: is this lower half a photograph or a drawing of one? It never hears the speech.

Each can hand out its activations beside the score: feature matching (Wang et al. 2018) compares them.
Shape suffixes: N pictures, C colour, h W lower half.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anchor.models.classic_blocks import Row
from anchor.models.describe import network
from anchor.models.spectral import spectral_norm

__all__ = ["ClassicDiscriminator", "PatchDiscriminator"]

CLASSIC = (
    Row(32, 7, 1, 3),  # 48 x 96
    Row(64, 5, (1, 2), 2),  # 48 x 48
    Row(64, 5, 1, 2),
    Row(128, 5, 2, 2),  # 24 x 24
    Row(128, 5, 1, 2),
    Row(256, 5, 2, 2),  # 12 x 12
    Row(256, 5, 1, 2),
    Row(512, 3, 2, 1),  # 6 x 6
    Row(512, 3, 1, 1),
    Row(512, 3, 2, 1),  # 3 x 3
    Row(512, 3, 1, 1),
    Row(512, 3, 1, 0),  # 1 x 1
    Row(512, 1, 1, 0),
)


@network("discriminator")
class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches (PatchGAN, Isola et al. 2017, arXiv 1611.07004), with spectral norm or without.

    Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) keeps the gradient that the generator sees bounded.

    Args:
        widths: channels of each stage; every stage halves the picture.
        spectral: normalise every layer.
    """

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64), spectral: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip([3, *widths], widths, strict=False):
            layers += [nn.Conv2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(widths[-1], 1, 3, 1, 1))
        self.layers = nn.Sequential(*_normalised(layers, spectral))

    def forward(self, mouth_N3hW: Tensor) -> Tensor:
        """Raw scores (N, 1, h', W') for lower halves in [-1, 1]; high means real."""
        return self.layers(mouth_N3hW)

    def look(self, mouth_N3hW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The scores, and the activations that led to them, the finest first."""
        return _look(self.layers, mouth_N3hW)


@network("discriminator")
class ClassicDiscriminator(nn.Module):
    """One score for the whole lower half, laid out as Wav2Lip's (Prajwal et al. 2020): no norm, LeakyReLU.

    Its score is raw, where the classic ends in a sigmoid: the stage's hinge loss reads it so.

    Args:
        width: channels of the first layer; every other width is in proportion. 32 is the classic.
        spectral: normalise every layer (Miyato et al. 2018, arXiv 1802.05957), as the classic does not.
        unit_colours: look at colours in [0, 1] inside, as published weights do: the zeros around a picture are black
            for them, so the range cannot be folded into the first layer.
    """

    def __init__(self, *, width: int = 32, spectral: bool = False, unit_colours: bool = False) -> None:
        super().__init__()
        self.unit_colours = unit_colours
        layers: list[nn.Module] = []
        channels = [3, *(row.width * width // 32 for row in CLASSIC)]
        for in_channels, out_channels, row in zip(channels, channels[1:], CLASSIC, strict=False):
            layers += [nn.Conv2d(in_channels, out_channels, row.kernel, row.stride, row.padding), nn.LeakyReLU(0.01)]
        layers.append(nn.Conv2d(channels[-1], 1, 1))
        self.layers = nn.Sequential(*_normalised(layers, spectral))

    def forward(self, mouth_N3hW: Tensor) -> Tensor:
        """Raw scores for lower halves in [-1, 1], (N, 1, 1, 1) at 48 x 96; high means real."""
        return self.layers(self._colours(mouth_N3hW))

    def look(self, mouth_N3hW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The scores, and the activations that led to them, the finest first."""
        return _look(self.layers, self._colours(mouth_N3hW))

    def _colours(self, mouth_N3hW: Tensor) -> Tensor:
        return (mouth_N3hW + 1) * 0.5 if self.unit_colours else mouth_N3hW


def _normalised(layers: list[nn.Module], spectral: bool) -> list[nn.Module]:
    return [spectral_norm(layer) if spectral and isinstance(layer, nn.Conv2d) else layer for layer in layers]


def _look(layers: nn.Sequential, mouth_N3hW: Tensor) -> tuple[Tensor, list[Tensor]]:
    activations = []
    for layer in layers:
        mouth_N3hW = layer(mouth_N3hW)
        if isinstance(layer, nn.LeakyReLU):
            activations.append(mouth_N3hW)
    return mouth_N3hW, activations
