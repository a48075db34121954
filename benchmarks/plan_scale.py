"""What one of 1024 ranks pays for the plan, the manifest and the comparison with the others.

    python benchmarks/plan_scale.py [ranks=1024] [hours=1000]

- manifest: `read_manifest` of a synthetic set of so many hours in clips of ten seconds, as every rank reads it; its
  shards are not looked at, only the file that lists them.
- order: a `TrainOrder` of the last rank over those clips, and its first batch.
- card: the hash of our sources, and of the configuration.
- comparison: `compare_ranks` over a real key-value store that this process serves. The ranks are threads in four
  processes, each with a connection of its own, because the store is to see as many as there would be; all have
  connected before the clock starts, and take their card as given.

Seconds are of one rank in a process of its own, on the clock and of the processor: a machine that others use too makes
the first ones longer. Memory is the growth of its peak resident set beyond the imports. Of the comparison: the time
until the slowest rank has its verdict, and the processor time of all ranks and of the store, for each rank.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

CLIP_S, FPS = 10, 25
PROCESSES = 4
CONFIG = "seed: 0\n" + "".join(f"key_{i}: {i}\n" for i in range(200))


def write_manifest(folder: Path, clips: int) -> None:
    """A manifest of ``clips`` clips, as a finished set has it."""
    import numpy as np

    from anchor.ops.mel import mel_config_hash
    from anchor.shards.clips import ClipTable
    from anchor.shards.manifest import manifest_text
    from anchor.shards.members import FORMAT_VERSION

    per_shard = 1000
    shards = -(-clips // per_shard)
    frames = np.full(clips, CLIP_S * FPS)
    splits = np.zeros(clips, np.int64)
    splits[-per_shard // 10 :] = 1
    table = ClipTable.__new__(ClipTable)
    columns = {
        "keys": [f"speaker{i // 50:06d}/clip{i:08d}" for i in range(clips)],
        "speakers": (np.arange(clips) // 50).tolist(),
        "splits": splits.tolist(),
        "num_frames": frames.tolist(),
        "shards": (np.arange(clips) // per_shard).tolist(),
    }
    table.columns = lambda: columns  # type: ignore[method-assign]
    entries = [
        {"name": f"shard-{i:06d}.tar", "bytes": 10**9, "clips": min(per_shard, clips - i * per_shard),
         "index_bytes": 10**5, "head_bytes": 512, "head_crc": i, "sha256": f"{i:064x}", "index_sha256": f"{i:064x}"}
        for i in range(shards)
    ]  # fmt: skip
    counts = {name: int((splits == number).sum()) for number, name in enumerate(("train", "val"))}
    manifest = {
        "format_version": FORMAT_VERSION, "codec": "jpeg", "mel_config_hash": mel_config_hash(), "image_size": 192,
        "num_clips": clips, "num_frames": int(frames.sum()), "num_bytes": shards * 10**9,
        "speakers": [f"speaker{i:06d}" for i in range(-(-clips // 50))],
        "splits": {name: {"clips": count, "frames": count * CLIP_S * FPS} for name, count in counts.items()},
        "shards": entries,
    }  # fmt: skip
    (folder / "manifest.json").write_bytes(manifest_text(manifest, table))


def plan_alone(folder: str, ranks: str) -> None:
    """In a process of its own: read, plan, and print seconds and bytes as JSON."""
    from anchor.shards.folder import open_folder
    from anchor.shards.manifest import read_manifest
    from datamodules.order import TrainOrder

    before, began, used = _peak(), time.perf_counter(), time.process_time()
    _, table = read_manifest(open_folder(folder, None))
    read_s = time.perf_counter() - began
    read_cpu_s, read_bytes = time.process_time() - used, _peak() - before
    began, used = time.perf_counter(), time.process_time()
    world = int(ranks)
    order = TrainOrder(table, batch_size=8 * world, windows_per_clip=1, seed=0, rank=world - 1, world_size=world)
    first = next(iter(order))
    plan_s = time.perf_counter() - began
    assert len(first) == 8
    told = {"read_s": read_s, "read_cpu_s": read_cpu_s, "read_bytes": read_bytes}
    print(json.dumps({**told, "plan_s": plan_s, "plan_cpu_s": time.process_time() - used, "bytes": _peak() - before}))


def compare_some(port: str, ranks: str, first: str) -> None:
    """A quarter of the ranks; prints the slowest one's seconds, and the processor's seconds of all."""
    from torch.distributed import TCPStore

    from launch import agreement

    card = agreement.make_card(CONFIG)
    agreement.make_card = lambda config: card
    mine = range(int(first), int(ranks), PROCESSES)
    stores = {rank: TCPStore("127.0.0.1", int(port), is_master=False, timeout=timedelta(seconds=300)) for rank in mine}
    taken: list[float] = []
    some = next(iter(stores.values()))
    some.add("connected", len(mine))
    while some.add("connected", 0) < int(ranks):
        time.sleep(0.05)

    def be(rank: int, store: TCPStore) -> None:
        began = time.perf_counter()
        agreement.compare_ranks(store, rank, int(ranks), CONFIG)
        taken.append(time.perf_counter() - began)

    used = time.process_time()
    threads = [threading.Thread(target=be, args=entry) for entry in stores.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(max(taken), time.process_time() - used)


def compare(ranks: int) -> tuple[float, float, float]:
    """Processor seconds of one card, seconds until all ranks have their verdict, processor seconds for each of them."""
    from torch.distributed import TCPStore

    from launch.agreement import make_card

    make_card(CONFIG)  # as the second rank of a node finds the files
    used = time.process_time()
    make_card(CONFIG)
    card_s = time.process_time() - used
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    words = [sys.executable, __file__, "compare_some", str(server.port), str(ranks)]
    environment = {**os.environ, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    used = time.process_time()
    processes = [
        subprocess.Popen([*words, str(i)], stdout=subprocess.PIPE, text=True, env=environment) for i in range(PROCESSES)
    ]
    told = [[float(word) for word in process.communicate()[0].split()] for process in processes]
    used = time.process_time() - used + sum(cpu_s for _, cpu_s in told)
    return card_s, max(slowest for slowest, _ in told), used / ranks


def main(ranks: str = "1024", hours: str = "1000") -> None:
    """Print the table."""
    print(f"python benchmarks/plan_scale.py ranks={ranks} hours={hours}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    clips = int(float(hours) * 3600 / CLIP_S)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), clips)
        size = (Path(folder) / "manifest.json").stat().st_size
        alone = subprocess.run(
            [sys.executable, __file__, "plan_alone", folder, ranks], capture_output=True, text=True, check=True
        )
    told = json.loads(alone.stdout)
    print(
        f"manifest of {clips} clips ({size / 1e6:.1f} MB): {told['read_s']:.2f} s ({told['read_cpu_s']:.2f} s of the "
        f"processor), {told['read_bytes'] / 1e6:.0f} MB"
    )
    print(
        f"order of one of {ranks} ranks, and its first batch: {told['plan_s']:.2f} s ({told['plan_cpu_s']:.2f} s), "
        f"with the manifest {told['bytes'] / 1e6:.0f} MB"
    )
    card_s, all_s, each_s = compare(int(ranks))
    print(f"card of one rank: {card_s:.3f} s of the processor")
    print(
        f"comparison of {ranks} ranks: all have their verdict after {all_s:.2f} s, on {os.cpu_count()} cores; "
        f"{each_s * 1000:.1f} ms of the processor for each rank"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["plan_alone"]:
        plan_alone(*sys.argv[2:])
    elif sys.argv[1:2] == ["compare_some"]:
        compare_some(*sys.argv[2:])
    else:
        main(**dict(word.split("=", 1) for word in sys.argv[1:]))
