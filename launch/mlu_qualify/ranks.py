"""Items of two cards: how their processes meet, and whether they learn as one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from launch.mlu_qualify.card import GENTLE, gradient_difference, gradients_of, images, mlu, small_net
from launch.mlu_qualify.networks import load_networks, samples_per_second
from launch.mlu_qualify.outcome import NotHereError, Scene, item

BACKEND = "cpu:gloo,mlu:cncl"
CLOSE = 1e-5  # of gradients between two cards and one process, relative to the largest
HANG_S = 10


@contextmanager
def connected(scene: Scene, **options: Any) -> Iterator[torch.device]:
    """The process group of all ranks, and this rank's card."""
    device = torch.device("mlu", scene.rank)
    mlu().set_device(device)
    options.setdefault("timeout", timedelta(seconds=60))
    dist.init_process_group(
        BACKEND,
        init_method=f"tcp://127.0.0.1:{scene.port}",
        rank=scene.rank,
        world_size=scene.ranks,
        **options,
    )
    try:
        yield device
    finally:
        dist.destroy_process_group()


@item("mixed backend", "whether cpu:gloo,mlu:cncl connects, and each tensor finds its way", ranks=2)
def mixed_backend(scene: Scene) -> str:
    """A sum on the card and one on the CPU."""
    with connected(scene) as device:
        for place in (device, torch.device("cpu")):
            value = torch.full((4,), float(scene.rank + 1), device=place)
            dist.all_reduce(value)
            assert value.tolist() == [3.0] * 4, f"the sum on {place} is {value.tolist()}"
    return "sums right on card and CPU"


@item("device_id", "whether init_process_group takes the card", ranks=2)
def device_id(scene: Scene) -> str:
    """PyTorch 2.4 takes CUDA's devices only; the plugin gives none."""
    try:
        with connected(scene, device_id=torch.device("mlu", scene.rank)) as device:
            value = torch.ones(2, device=device)
            dist.all_reduce(value)
            assert value.tolist() == [2, 2]
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotHereError(f"refused, and not needed: {str(error).splitlines()[0]}") from error
    return "accepted"


@item("objects and barriers", "broadcast_object_list, barrier with and without device_ids", ranks=2)
def objects_and_barriers(scene: Scene) -> str:
    """What launchers use."""
    with connected(scene) as device:
        found: list[Any] = [{"seed": 7} if scene.rank == 0 else None]
        dist.broadcast_object_list(found, device=device)
        assert found == [{"seed": 7}], f"rank {scene.rank} got {found}"
        dist.barrier(device_ids=[scene.rank])
        dist.barrier()
    return "all came through"


@item("AVG", "what ReduceOp.AVG does with floats and whole numbers", ranks=2)
def average(scene: Scene) -> str:
    """The plugin sums and divides, so nothing depends on it."""
    with connected(scene) as device:
        floats = torch.full((2,), float(scene.rank + 1), device=device)
        whole = torch.full((2,), scene.rank + 1, dtype=torch.int32, device=device)
        dist.all_reduce(floats, dist.ReduceOp.AVG)
        dist.all_reduce(whole, dist.ReduceOp.AVG)
    assert floats.tolist() == [1.5, 1.5], f"of 1 and 2 it is {floats.tolist()}"
    return f"floats exact; 1 and 2 as whole numbers give {whole[0].item()}"


def _compare(ours: list[Tensor], theirs: list[Tensor], scene: Scene) -> float:
    """The largest difference to ``theirs``, relative to the largest gradient; ranks must hold the same."""
    for mine in ours:
        everyone = [torch.empty_like(mine) for _ in range(scene.ranks)]
        dist.all_gather(everyone, mine)
        assert torch.equal(everyone[0], everyone[1]), "ranks hold different gradients"
    return gradient_difference(ours, theirs)


@item("gradients on 2 cards", "DDP against one CPU process with the same batch", ranks=2)
def gradients(scene: Scene) -> str:
    """Normalisation sees each card's half, in the CPU's process as well."""
    with connected(scene) as device:
        net = nn.parallel.DistributedDataParallel(small_net().to(device), device_ids=[scene.rank])
        ours = gradients_of(net, images().chunk(scene.ranks)[scene.rank].to(device))
        worst = _compare(ours, gradients_of(small_net(), images(), scene.ranks), scene)
    assert worst < (CLOSE if scene.is_simulated else GENTLE), f"gradients differ by {worst:.1e}"
    return f"the same on both cards; to the CPU {worst:.1e}"


@item("SyncBatchNorm", "2 cards against one CPU process that normalises the whole batch", ranks=2)
def sync_batch_norm(scene: Scene) -> str:
    """Statistics over both cards."""
    with connected(scene) as device:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(small_net()).to(device)
        net = nn.parallel.DistributedDataParallel(net, device_ids=[scene.rank])
        ours = gradients_of(net, images().chunk(scene.ranks)[scene.rank].to(device))
        worst = _compare(ours, gradients_of(small_net(), images()), scene)
    assert worst < (CLOSE if scene.is_simulated else GENTLE), f"gradients differ by {worst:.1e}"
    return f"to the CPU {worst:.1e}"


@item("FSDP really shards", "whether each card holds its half, and learns as before", ranks=2)
def fsdp(scene: Scene) -> str:
    """FullyShardedDataParallel, the first of the two."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    with connected(scene) as device:
        whole = sum(parameter.numel() for parameter in small_net().parameters())
        net = FullyShardedDataParallel(small_net().to(device), device_id=device)
        loss = net(images().chunk(scene.ranks)[scene.rank].to(device)).square().mean()
        loss.backward()
        net.clip_grad_norm_(1.0)
        torch.optim.AdamW(net.parameters()).step()
        held = sum(parameter.numel() for parameter in net.parameters())
    assert held <= whole // scene.ranks + scene.ranks, f"a card holds {held} of {whole} weights"
    return f"a card holds {held} of {whole} weights"


@item("FSDP2 really shards", "fully_shard, from PyTorch 2.6 on", ranks=2)
def fsdp2(scene: Scene) -> str:
    """Local parts of the sharded tensors."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise NotHereError(f"needs PyTorch 2.6, and this is {torch.__version__}")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    with connected(scene) as device:
        net = small_net().to(device)
        whole = sum(parameter.numel() for parameter in net.parameters())
        fully_shard(net, mesh=init_device_mesh("mlu", (scene.ranks,)))
        net(images().chunk(scene.ranks)[scene.rank].to(device)).square().mean().backward()
        torch.optim.AdamW(net.parameters()).step()
        held = sum(parameter.to_local().numel() for parameter in net.parameters())  # type: ignore[attr-defined]
    assert held <= 0.75 * whole, f"a card holds {held} of {whole} weights"
    return f"a card holds {held} of {whole} weights"


@item("scaling 1 -> 2 cards", "samples a second of both cards against one", ranks=2, timeout_s=600)
def scaling(scene: Scene) -> str:
    """The same batch per card."""
    figures = []
    with connected(scene, timeout=timedelta(seconds=300)) as device:
        for name, (net, inputs) in load_networks(scene).items():
            alone = samples_per_second(net.to(device), inputs, device) if scene.rank == 0 else 0.0
            dist.barrier()
            both = nn.parallel.DistributedDataParallel(
                net.to(device), device_ids=[scene.rank], find_unused_parameters=True
            )
            rate = torch.tensor([samples_per_second(both, inputs, device)])
            dist.all_reduce(rate)
            figures.append(f"{name} {float(rate) / alone if alone else 0:.2f}x")
    return f"{', '.join(figures)}{' (of the CPU beneath)' if scene.is_simulated else ''}"


@item("a rank that hangs", "whether the other one ends by the time limit", ranks=2, timeout_s=120)
def hang(scene: Scene) -> str:
    """Rank 1 stays away from a sum; rank 0 must not wait for ever."""
    start = time.monotonic()
    try:
        with connected(scene, timeout=timedelta(seconds=HANG_S)) as device:
            if scene.rank == 1:
                time.sleep(3 * HANG_S)
                return "stayed away"
            value = torch.ones(2, device=device)
            dist.all_reduce(value)
            mlu().synchronize()
    except RuntimeError as error:
        waited = time.monotonic() - start
        return f"ended after {waited:.0f} s (limit {HANG_S} s): {str(error).splitlines()[0][:50]}"
    raise AssertionError("the sum came back without the other rank")


@item("several machines", "CNCL between machines", ranks=1)
def machines(scene: Scene) -> str:
    """Cannot be tried from one."""
    raise NotHereError("needs two machines: accelerator.nodes=2 on both, with launch.rendezvous=HOST:PORT")
