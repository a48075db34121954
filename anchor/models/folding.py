"""Batch norms folded into the convolutions before them: the same pictures from fewer steps."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_norms"]

Net = TypeVar("Net", bound=nn.Module)


def fold_norms(net: Net) -> Net:
    """A copy of ``net`` in eval mode whose batch norms stand in the weights, as do spectral norms.

    It relies on the house's order: a batch norm that follows a convolution among the children of a module is applied
    to its output. Whoever folds compares the outputs.
    """
    folded = copy.deepcopy(net).eval()
    for parent in list(folded.modules()):
        before: nn.Module | None = None
        before_name = ""
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and parametrize.is_parametrized(child, "weight"):
                child = _plain(child)
                setattr(parent, name, child)
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, (nn.Conv2d, nn.ConvTranspose2d)):
                turned = isinstance(before, nn.ConvTranspose2d)
                setattr(parent, before_name, fuse_conv_bn_eval(before, child, transpose=turned))
                setattr(parent, name, nn.Identity())
            before, before_name = child, name
    return folded


def _plain(conv: nn.Conv2d) -> nn.Conv2d:
    """``conv`` with the weight that its parametrization gives now; taking it off would also change its twin."""
    sizes = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, *sizes, conv.groups)  # type: ignore[arg-type]
    plain.weight = nn.Parameter(conv.weight.detach().clone())
    plain.bias = conv.bias
    return plain
