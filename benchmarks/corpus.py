"""Does the data path cost more where there are more clips? Start, memory and time per window for growing sets.

    OMP_NUM_THREADS=1 python benchmarks/corpus.py [clips=10,100,1000,10000] [folder=DIR]

Writes one set for each size, of clips of 1 s at 96 px (one clip drawn, its bytes written again and again: the path
reads, checks and decodes them all the same; 110 kB each). A fresh process then opens the set and makes the order of
the expert (windows of one clip in a row, the dearer one) and of the generator: "open" is that time without imports,
"first" until the first batch of 64 generator windows lies there. A loader process draws 40 batches; its memory is what
it holds for itself (USS) and what it maps in all (RSS), which counts PyTorch's libraries once more for each process.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CHILD = """
import json, sys, time
import numpy as np
from anchor.shards import ShardSet
from datamodules.chances import Disguise
from datamodules.order import TrainOrder
from datamodules.windows import WindowDataset
from datamodules.loader import WindowLoader
from datamodules.quarantine import Quarantine
import torch
torch.set_num_threads(1)

def memory(pid):
    rows = [line.split() for line in open(f"/proc/{pid}/smaps_rollup") if line[0].isalpha()]
    kb = {row[0]: int(row[1]) for row in rows if row[-1] == "kB"}
    return (kb["Private_Clean:"] + kb["Private_Dirty:"]) / 1024, kb["Rss:"] / 1024

begin = time.perf_counter()
source = ShardSet(sys.argv[1])
data = WindowDataset(source, "train", image_size=96, seed=0, disguise=Disguise(), cache_mb=0)
TrainOrder(data.clips, batch_size=120, windows_per_clip=15, seed=0)
order = TrainOrder(data.clips, batch_size=64, windows_per_clip=1, seed=0)
keys = iter(order)
first = next(keys)
opened = time.perf_counter() - begin
assert data[first].error is None
ready = time.perf_counter() - begin
spent = []
for number in range(30):
    chosen = next(keys, first)
    start = time.perf_counter()
    assert data[chosen].error is None
    spent.append((time.perf_counter() - start) / len(chosen))
loader = WindowLoader(data, order, num_workers=1, prefetch=2, quarantine=Quarantine(None, 0.0))
drawn = 0
while drawn < 40:
    for batch in loader:
        drawn += 1
        if drawn == 40:
            break
uss, rss = memory(loader._iterator._workers[0].pid)
print(json.dumps({"open": opened, "first": ready, "us": 1e6 * float(np.median(spent)), "uss": uss, "rss": rss,
                  "windows": order.num_windows}))
"""


def make_set(out: Path, clips: int) -> None:
    """A set of ``clips`` clips of 25 frames."""
    from anchor.ops.mel import log_mel, mel_config_hash
    from anchor.shards import ShardSetWriter, encode_clip
    from anchor.synth.cast import draw_person
    from anchor.synth.clip import make_clip

    clip = make_clip(draw_person(0, 1), 0, seconds=1.0, size=96)
    rng = np.random.default_rng(0)
    frames = [np.clip(f + rng.normal(0, 4, f.shape), 0, 255).astype(np.uint8) for f in clip.frames()]
    samples = clip.samples[: len(frames) * 640]
    members = encode_clip(frames, log_mel(samples), samples, {"key": "drawn"})
    out.mkdir(parents=True)
    writer = ShardSetWriter(out, 96, mel_config_hash())
    for number in range(clips):
        split = "val" if number % 10 == 9 else "train"
        writer.add(members, key=f"c{number:06d}", speaker=f"s{number % 997}", split=split, num_frames=len(frames))
    writer.close()


def main() -> None:
    """Print one table."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    counts = [int(count) for count in options.get("clips", "10,100,1000,10000").split(",")]
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{'clips':>7}{'windows':>9}{'MB':>7}{'open ms':>9}{'first ms':>10}{'us/window':>11}{'USS MB':>8}{'RSS MB':>8}"
    )
    with tempfile.TemporaryDirectory(dir=options.get("folder")) as folder:
        for count in counts:
            out = Path(folder) / str(count)
            make_set(out, count)
            size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(out)], capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            got = json.loads(done.stdout)
            print(
                f"{count:>7}{got['windows']:>9}{size:>7.0f}{1e3 * got['open']:>9.0f}{1e3 * got['first']:>10.0f}"
                f"{got['us']:>11.0f}{got['uss']:>8.0f}{got['rss']:>8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
