"""What the ranks of a training exchange inside a step, so that any number of them learns as one would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

__all__ = ["gather_ranks", "shard_over_cards"]


def gather_ranks(tensor_B: Tensor) -> Tensor:
    """The windows of all ranks in the order of the global batch, G = ranks x B of them; gradients find back.

    A loss that every rank computes from these is the loss of the global batch. Each rank's gradient is then as large as
    all ranks' together, and their mean, which DistributedDataParallel takes, is the one that a single process has.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return tensor_B
    gathered: Tensor = _GatherRanks.apply(tensor_B)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRanks(torch.autograd.Function):
    """All-gather forwards, all-reduce backwards: two collectives that every backend has."""

    @staticmethod
    def forward(context: Any, tensor_B: Tensor) -> Tensor:
        context.num_windows = len(tensor_B)
        parts = [torch.empty_like(tensor_B) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor_B.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients_G: Tensor) -> Tensor:
        total_G = gradients_G[0].contiguous().clone()
        torch.distributed.all_reduce(total_G)
        start = torch.distributed.get_rank() * context.num_windows
        return total_G[start : start + context.num_windows]


def shard_over_cards(module: L.LightningModule, *networks: nn.Module) -> None:
    """Shard ``networks`` by FSDP2 if the trainer's strategy is for that, their parts first; else do nothing."""
    if module.device_mesh is None:
        return
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = module.device_mesh["data_parallel"]
    for network in networks:
        if not isinstance(network, FSDPModule):  # a trainer configures its module for each of fit and validate
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # it shards no other
            for part in _parts(network):
                fully_shard(part, mesh=mesh)
            fully_shard(network, mesh=mesh)


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    """The direct children that hold parameters; of a mere list, its members."""
    for part in network.children():
        if isinstance(part, (nn.ModuleList, nn.ModuleDict)):
            yield from _parts(part)
        elif any(True for _ in part.parameters()):
            yield part
