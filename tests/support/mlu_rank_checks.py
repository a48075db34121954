"""Checks that run on two ranks, one simulated card each: ``python mlu_rank_checks.py`` prints JSON as mlu_checks does.

Every check runs on both ranks; the first failure of a check on any rank is what is printed.
"""

import copy
import json
import sys
import traceback

import pytest
import torch
import torch.distributed as dist
import torch_mlu  # noqa: F401  # before a worker unpickles anything
from torch import nn
from torch_mlu import simulation

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)
RANKS = 2


def card():
    return torch.device("mlu", dist.get_rank())


def make_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 4)
    )


def images():
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def learn(net, x, steps=2, parts=1):
    """Steps of AdamW; gradients of the mean over ``parts`` equal parts of ``x``, each normalised by itself."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        for part in x.chunk(parts):
            (net(part).square().mean() / parts).backward()
        grads = [parameter.grad.clone() for parameter in net.parameters()]
        optimizer.step()
    return grads


def check_sums_means_and_extremes():
    for dtype in DTYPES:
        mine = torch.full((2, 3), dist.get_rank() + 1).to(dtype).to(card())
        for op, wanted in ((dist.ReduceOp.SUM, 3), (dist.ReduceOp.MAX, 2), (dist.ReduceOp.PRODUCT, 2)):
            summed = mine.clone()
            dist.all_reduce(summed, op)
            assert summed.dtype == dtype
            assert (summed == wanted).all(), (dtype, op, summed)
        mean = mine.clone()
        dist.all_reduce(mean, dist.ReduceOp.AVG)
        assert (mean == (1.5 if dtype.is_floating_point else 1)).all(), (dtype, mean)
    flag = torch.tensor([dist.get_rank() == 0, False], device=card())
    dist.all_reduce(flag)
    assert flag.tolist() == [True, False]
    with pytest.raises(TypeError, match="AVG with boolean"):
        dist.all_reduce(flag, dist.ReduceOp.AVG)
    with pytest.raises(RuntimeError, match="BAND"):
        dist.all_reduce(torch.ones(2, dtype=torch.int32, device=card()), dist.ReduceOp.BAND)


def check_transfers_of_every_dtype():
    rank = dist.get_rank()
    for dtype in (*DTYPES, torch.bool):
        mine = torch.full((2,), rank).to(dtype).to(card())
        gathered = [torch.empty_like(mine) for _ in range(RANKS)]
        dist.all_gather(gathered, mine)
        assert [part.tolist() for part in gathered] == [[0, 0], [1, 1]]
        whole = torch.empty(4, dtype=dtype, device=card())
        dist.all_gather_into_tensor(whole, mine)
        assert whole.tolist() == [0, 0, 1, 1]
        sent = mine.clone()
        dist.broadcast(sent, 1)
        assert sent.tolist() == [1, 1]
        if rank == 0:
            dist.send(mine, 1)
        else:
            received = torch.empty_like(mine)
            dist.recv(received, 0)
            assert received.tolist() == [0, 0]


def check_scatters_and_exchanges():
    rank, device = dist.get_rank(), card()
    share = torch.empty(2, device=device)
    dist.reduce_scatter_tensor(share, torch.arange(4.0, device=device) + rank)
    assert share.tolist() == ([1, 3] if rank == 0 else [5, 7])
    dist.reduce_scatter_tensor(share, torch.arange(4.0, device=device), dist.ReduceOp.AVG)
    assert share.tolist() == ([0, 1] if rank == 0 else [2, 3])
    dist.scatter(share, [torch.full((2,), float(index), device=device) for index in range(2)] if rank == 0 else None)
    assert share.tolist() == [rank, rank]
    lists = [torch.empty(2, device=device) for _ in range(RANKS)] if rank == 0 else None
    dist.gather(share, lists)
    assert lists is None or [part.tolist() for part in lists] == [[0, 0], [1, 1]]
    swapped = torch.empty(2, device=device)
    dist.all_to_all_single(swapped, torch.arange(2.0, device=device) + 10 * rank)
    assert swapped.tolist() == [rank, 10 + rank]
    work = dist.all_reduce(share, async_op=True)
    work.wait()
    assert share.tolist() == [1, 1]
    assert work.get_future().value()[0].device == device


def check_objects_and_barriers():
    objects = [{"seed": 7} if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(objects, device=card())
    assert objects == [{"seed": 7}]
    everyone = [None] * RANKS
    dist.all_gather_object(everyone, dist.get_rank())
    assert everyone == [0, 1]
    dist.barrier(device_ids=[dist.get_rank()])
    dist.barrier()


def check_the_cpu_goes_over_gloo_and_the_card_over_cncl():
    simulation.reset_collective_counts()
    host = torch.ones(2)
    dist.all_reduce(host)
    assert host.tolist() == [2, 2]
    assert simulation.collective_counts() == {}
    dist.all_reduce(torch.ones(2, device=card()))
    assert simulation.collective_counts() == {"allreduce": 1}
    alone = dist.new_group(backend="cncl")
    with pytest.raises(RuntimeError, match="No backend type associated with device type cpu"):
        dist.all_reduce(host, group=alone)
    assert "mlu:cncl" in str(dist.get_backend_config())


def check_ddp_gives_the_gradients_of_one_process():
    rank, x = dist.get_rank(), images()
    reference = make_net()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    wanted = learn(reference, x, parts=RANKS)
    for options in ({}, {"find_unused_parameters": True}, {"static_graph": True}, {"gradient_as_bucket_view": True}):
        net = nn.parallel.DistributedDataParallel(make_net().to(card()), device_ids=[rank], **options)
        grads = learn(net, x.chunk(RANKS)[rank].to(card()))
        for ours, theirs in zip(grads, wanted, strict=True):
            everyone = [torch.empty_like(ours) for _ in range(RANKS)]
            dist.all_gather(everyone, ours)
            assert torch.equal(everyone[0], everyone[1])
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6)


def check_parameters_that_rest_are_found():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.rests = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    net = nn.parallel.DistributedDataParallel(
        Half().to(card()), device_ids=[dist.get_rank()], find_unused_parameters=True
    )
    for _ in range(2):
        net(torch.ones(1, 2, device=card())).sum().backward()
    assert net.module.rests.weight.grad is None or not net.module.rests.weight.grad.any()


def check_sync_batch_norm_sees_the_whole_batch():
    rank, x = dist.get_rank(), images()
    reference = make_net()
    wanted = learn(reference, x, steps=1)
    net = nn.SyncBatchNorm.convert_sync_batchnorm(make_net()).to(card())
    net = nn.parallel.DistributedDataParallel(net, device_ids=[rank])
    grads = learn(net, x.chunk(RANKS)[rank].to(card()), steps=1)
    for ours, theirs in zip(grads, wanted, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(net.module[1].running_var.cpu(), reference[1].running_var)
    torch.testing.assert_close(net.module[1].running_mean.cpu(), reference[1].running_mean)
    net.eval()
    assert net(x[:1].to(card())).isfinite().all()


def check_the_scaler_skips_on_every_rank():
    net = nn.Linear(2, 1, bias=False).to(card())
    nn.init.ones_(net.weight)
    net = nn.parallel.DistributedDataParallel(net, device_ids=[dist.get_rank()])
    optimizer, scaler = torch.optim.SGD(net.parameters(), 0.1), torch.amp.GradScaler("mlu", init_scale=256.0)
    x = torch.full((1, 2), 1e4 if dist.get_rank() else 1.0, device=card())  # 1e4 x 256 is beyond float16 on one rank
    with torch.autocast("mlu", dtype=torch.float16):
        loss = net(x).sum()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert net.module.weight.tolist() == [[1, 1]]
    assert scaler.get_scale() == 128


def check_fsdp_shards():
    from torch.distributed.fsdp import FullyShardedDataParallel

    x = images().chunk(RANKS)[dist.get_rank()].to(card())
    whole = sum(parameter.numel() for parameter in make_net().parameters())
    simulation.reset_collective_counts()
    net = FullyShardedDataParallel(make_net().to(card()), device_id=card())
    learn(net, x)
    counts = simulation.collective_counts()
    assert counts["allgather_base"] >= 2
    assert counts["reduce_scatter_base"] == 2
    held = sum(parameter.numel() for parameter in net.parameters())
    assert held <= whole // 2 + RANKS


def check_fsdp2_shards():
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net, mesh = make_net().to(card()), init_device_mesh("mlu", (RANKS,))
    twin = copy.deepcopy(net)
    simulation.reset_collective_counts()
    fully_shard(net[4], mesh=mesh)
    fully_shard(net, mesh=mesh)
    x = images().to(card())
    learn(net, x)
    counts = simulation.collective_counts()
    assert counts["allgather_base"] >= 4
    assert counts["reduce_scatter_base"] == 4
    learn(twin, x)
    torch.testing.assert_close(net[4].weight.full_tensor(), twin[4].weight, rtol=1e-5, atol=1e-6)


def run_rank(rank, port, path):
    torch.set_num_threads(1)
    torch.mlu.set_device(rank)
    store = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("cpu:gloo,mlu:cncl", init_method=store, rank=rank, world_size=RANKS)
    results = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                results[name] = None
            except Exception:  # the test shows it; a rank that waits for the other ends by its time limit
                results[name] = f"rank {rank}: {traceback.format_exc()}"
    both = [None] * RANKS
    dist.all_gather_object(both, results)
    if rank == 0:
        found = {name: both[0][name] or both[1][name] for name in results}
        with open(path, "w") as file:
            json.dump(found, file)
    dist.destroy_process_group()


def main():
    import socket
    import tempfile

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        torch.multiprocessing.spawn(run_rank, (port, file.name), nprocs=RANKS)
        sys.stdout.write(file.read())


if __name__ == "__main__":
    main()
