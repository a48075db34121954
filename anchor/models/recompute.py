"""Activation checkpointing: keep what goes into a block, and compute the rest again when gradients need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from anchor.models.blocks import ConvBlock, ModulatedUpBlock, ResidualBlock
from anchor.models.classic_blocks import ClassicBlock

__all__ = ["recompute_activations"]

BLOCKS = (ConvBlock, ResidualBlock, ModulatedUpBlock, ClassicBlock)


def recompute_activations(net: nn.Module) -> int:
    """Make the convolution blocks of ``net`` forget their activations; says how many blocks there are.

    Outputs, gradients and running statistics keep every bit: a block computes the same twice, and batch norm takes note
    of its input once. Names of weights stay. Blocks whose forward has a memory of its own, such as the power iteration
    of spectral norm, would compute something else the second time: discriminators are left alone.
    """
    blocks = [block for block in net.modules() if isinstance(block, BLOCKS)]
    for block in blocks:
        block.forward = MethodType(_forward, block)  # type: ignore[method-assign]
    return len(blocks)


def _forward(block: nn.Module, *inputs: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first time, and around the second."""
    return nullcontext(), _statistics_rest(block)


@contextmanager
def _statistics_rest(block: nn.Module) -> Iterator[None]:
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm) and part.training]
    kept = [(norm, dict(norm.named_buffers(recurse=False))) for norm in norms]
    for norm, buffers in kept:
        for name, value in buffers.items():
            setattr(norm, name, value.clone())  # the second time takes note in a copy
    try:
        yield
    finally:
        for norm, buffers in kept:
            for name, value in buffers.items():
                setattr(norm, name, value)
