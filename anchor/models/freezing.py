"""Frozen means frozen: no gradients, no dropout, no running means, whatever the trainer does later."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import TypeVar

import torch
from torch import nn

__all__ = ["digest", "freeze", "keep_norms", "without_gradients"]

Net = TypeVar("Net", bound=nn.Module)


def freeze(net: Net) -> Net:
    """``net`` in eval mode for good: no parameter learns, and ``net.train()`` no longer wakes its batch norms.

    Wav2Lip's expert is "frozen" by ``requires_grad`` alone; its running means move at every step, and a sample's loss
    depends on its batch mates.
    """
    net.requires_grad_(False)
    for module in net.modules():
        module.eval()
        module.train = MethodType(_stay_in_eval, module)  # type: ignore[method-assign]
    return net


def keep_norms(net: nn.Module) -> None:
    """The batch norms of ``net`` go on with the means and spreads they have, for good; gains and shifts still learn."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = MethodType(_stay_in_eval, module)  # type: ignore[method-assign]


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


@contextmanager
def without_gradients(net: nn.Module) -> Iterator[None]:
    """``net`` judges inside the block without learning from it; gradients still flow through to its input."""
    asked = [parameter.requires_grad for parameter in net.parameters()]
    net.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, wanted in zip(net.parameters(), asked, strict=True):
            parameter.requires_grad_(wanted)


def digest(*nets: nn.Module) -> str:
    """The SHA-256, in hex, of every parameter and buffer of ``nets`` to the last bit, with its name and shape.

    Where a strategy shares tensors out over cards it is that of this card's part.
    """
    found = hashlib.sha256()
    for number, net in enumerate(nets):
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # a DTensor holds its shard
            found.update(f"{number}.{name} {tuple(local.shape)} {local.dtype}\n".encode())
            found.update(local.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
