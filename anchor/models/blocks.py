"""Blocks of plain convolutions that every network here is made of.

Shape suffixes: N pictures, C channels, H W pixels, D embedding.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from anchor.errors import ConfigError

__all__ = ["ConvBlock", "ModulatedUpBlock", "ResidualBlock", "make_norm"]

GROUPS = 32  # of a group norm, as in Wu and He 2018 (arXiv 1803.08494), or the most below it that divide the channels


def make_norm(name: str, channels: int) -> nn.Module:
    """A norm over ``channels``: ``batch``, or ``group``, which needs no batch and is the same in training and after.

    Raises:
        ConfigError: another name.
    """
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    raise ConfigError(f"norm={name} is unknown. Choose batch or group.")


class ConvBlock(nn.Sequential):
    """Convolution, norm, ReLU; padded so that ``stride`` divides the size exactly where it can."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | None = None,
        norm: str = "batch",
    ) -> None:
        if padding is None:
            padding = (kernel if isinstance(kernel, int) else kernel[0]) // 2
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
            make_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """``relu(x + norm(conv(x)))``; the norm's gain starts at 0, so a fresh block passes its input on."""

    def __init__(self, channels: int, norm: str = "batch") -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = make_norm(norm, channels)
        nn.init.zeros_(self.norm.weight)  # type: ignore[arg-type]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same shape as it came."""
        return F.relu(x_NCHW + self.norm(self.conv(x_NCHW)), inplace=True)


class ModulatedUpBlock(nn.Module):
    """Upsample by ``scale``, convolve, normalise; then the speech scales and shifts every channel.

    Feature-wise linear modulation (FiLM, Perez et al. 2018, arXiv 1709.07871).
    """

    def __init__(self, in_channels: int, out_channels: int, speech_size: int, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.modulation = nn.Linear(speech_size, 2 * out_channels)
        nn.init.normal_(self.modulation.weight, 0, 0.3 / speech_size**0.5)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x_NCHW: Tensor, speech_ND: Tensor) -> Tensor:
        """(N, out_channels, scale * H, scale * W)."""
        if self.scale > 1:
            x_NCHW = F.interpolate(x_NCHW, scale_factor=float(self.scale))
        gain_NC11, shift_NC11 = self.modulation(speech_ND)[:, :, None, None].chunk(2, dim=1)
        return F.relu(self.norm(self.conv(x_NCHW)) * (1 + gain_NC11) + shift_NC11, inplace=True)
