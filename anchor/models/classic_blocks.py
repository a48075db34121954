"""Blocks of the classic layout, and tables that say how many of them stand where.

The layout is that of Wav2Lip (Prajwal et al. 2020, arXiv 2008.10010): convolutions with a bias, batch norm, ReLU. The
tables keep its order of layers, so weights of that layout fit by a map of names.

Shape suffixes: N pictures, C channels, H W pixels or bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CLASSIC_WIDTH", "ClassicBlock", "Row", "stack_rows"]

CLASSIC_WIDTH = 16  # channels of the generator's first layer, which the tables are written for


class Row(NamedTuple):
    """A convolution to ``width`` channels, then ``residuals`` blocks that keep them."""

    width: int
    kernel: int = 3
    stride: int | tuple[int, int] = 1
    padding: int = 1
    residuals: int = 0
    grows: bool = False  # transposed: the picture grows by the stride


class ClassicBlock(nn.Module):
    """``relu(norm(conv(x)))``, or ``relu(x + norm(conv(x)))`` where it is ``residual``.

    The norm's gain starts at 0 in a residual block, so a fresh one passes its input on.
    """

    def __init__(self, in_channels: int, row: Row, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if row.grows:
            beyond = 1 if row.stride == 2 else 0  # doubles the size exactly
            self.conv = nn.ConvTranspose2d(in_channels, row.width, row.kernel, row.stride, row.padding, beyond)
        else:
            self.conv = nn.Conv2d(in_channels, row.width, row.kernel, row.stride, row.padding)
        self.norm = nn.BatchNorm2d(row.width)
        if residual:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, width, H', W')."""
        out_NCHW = self.norm(self.conv(x_NCHW))
        return F.relu(x_NCHW + out_NCHW if self.residual else out_NCHW, inplace=True)


def stack_rows(in_channels: int, rows: Sequence[Row], width: int = CLASSIC_WIDTH) -> nn.Sequential:
    """The blocks of ``rows`` in a row, all widths times ``width / 16``."""
    blocks = []
    for row in rows:
        row = row._replace(width=row.width * width // CLASSIC_WIDTH)
        blocks.append(ClassicBlock(in_channels, row))
        kept = Row(row.width)
        blocks += [ClassicBlock(row.width, kept, residual=True) for _ in range(row.residuals)]
        in_channels = row.width
    return nn.Sequential(*blocks)
