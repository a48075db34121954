"""Windows per second of one core, out of shards, with every member checked: where does the time go?

    OMP_NUM_THREADS=1 python benchmarks/windows.py [sizes=96,192,288] [codecs=jpeg,h264] [seconds=8]

Draws twelve clips of ten seconds of rendered speakers, writes them as shards of each codec and picture size, and draws
generator windows (five frames, a reference, six mel windows; nothing is kept between them) and expert windows (five
frames, one mel window) in the order of training, all in this process on one thread. The split is measured in a second
run, with a clock around each step; "rest" is what the steps leave of the whole.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CLIPS, FRAMES = 12, 250


def make_set(out: Path, size: int, codec: str) -> None:
    """A set of drawn clips whose faces fill the picture."""
    import cv2

    from anchor.ops.mel import log_mel, mel_config_hash
    from anchor.shards import ShardSetWriter, encode_clip
    from anchor.synth.cast import draw_person
    from anchor.synth.clip import make_clip

    out.mkdir(parents=True)
    writer = ShardSetWriter(out, size, mel_config_hash(), codec=codec)
    for number in range(CLIPS):
        clip = make_clip(draw_person(number, 1), number, seconds=FRAMES / 25, size=min(size, 192))
        frames = [cv2.resize(frame, (size, size)) for frame in clip.frames()][:FRAMES]
        rng = np.random.default_rng(number)  # drawn faces are smoother than real ones, and cost less to decode
        skin = rng.normal(0, 4, frames[0].shape)
        frames = [np.clip(f + skin + rng.normal(0, 0.7, f.shape), 0, 255).astype(np.uint8) for f in frames]
        samples = clip.samples[: len(frames) * 640]
        members = encode_clip(frames, log_mel(samples), samples, {"key": f"c{number}"}, codec=codec)
        split = "val" if number == CLIPS - 1 else "train"
        writer.add(members, key=f"c{number}", speaker=f"s{number}", split=split, num_frames=len(frames))
    writer.close()


def draw(path: Path, size: int, drawing: bool, seconds: float, clock: Clock | None = None) -> tuple[float, int]:
    """Windows per second, and how many were drawn; ``clock`` begins after the first batch."""
    from anchor.shards import ShardSet
    from datamodules.chances import Disguise
    from datamodules.order import TrainOrder
    from datamodules.windows import WindowDataset

    data = WindowDataset(
        ShardSet(path), "train", image_size=size, seed=0, drawing=drawing, disguise=Disguise(), cache_mb=0
    )
    order = TrainOrder(data.clips, batch_size=64, windows_per_clip=1, seed=0)
    batches = iter(order)
    assert data[next(batches)].error is None  # opens files, imports decoders
    if clock is not None:
        clock.spent.clear()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        keys = next(batches, None)
        if keys is None:
            order.epoch += 1
            batches = iter(order)
            continue
        assert data[keys].error is None
        count += len(keys)
    return count / (time.perf_counter() - begin), count


class Clock:
    """Seconds spent within functions, each without what it calls of the others."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._stack: list[list[Any]] = []

    def wrap(self, home: Any, name: str, step: str) -> Any:
        """Time ``home.name`` as ``step``; returns what was there."""
        inner = getattr(home, name)

        def timed(*args: Any, **options: Any) -> Any:
            self._stack.append([0.0])
            begin = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                whole = time.perf_counter() - begin
                within = self._stack.pop()[0]
                self.spent[step] = self.spent.get(step, 0.0) + whole - within
                if self._stack:
                    self._stack[-1][0] += whole

        setattr(home, name, timed)
        return inner


@contextlib.contextmanager
def timed_steps() -> Iterator[Clock]:
    """A clock around reading, checking, decoding, disguising and collating."""
    import torch

    import anchor.shards.folder as folder
    import anchor.shards.reader as reader
    import datamodules.windows as windows

    clock, undo = Clock(), []
    places = [
        (folder.os, "pread", "read"), (reader.zlib, "crc32", "check"), (windows, "disguise_pictures", "augment"),
        (windows, "disguise_mel", "augment"), (torch, "from_numpy", "collate"), (windows.np, "stack", "collate"),
        (reader, "decode_into", "decode"), (reader, "decode_video", "decode"),
    ]  # fmt: skip
    for home, name, step in places:
        undo.append((home, name, clock.wrap(home, name, step)))
    try:
        yield clock
    finally:
        for home, name, inner in reversed(undo):
            setattr(home, name, inner)


def main() -> None:
    """Print one table."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    sizes = [int(size) for size in options.get("sizes", "96,192,288").split(",")]
    codecs, seconds = options.get("codecs", "jpeg,h264").split(","), float(options.get("seconds", "8"))
    import torch

    torch.set_num_threads(1)
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread used")
    print(f"{'codec':<6}{'px':>5}{'windows':>10}{'/s':>7}{'KB/frame':>10}   us/window: split")
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            for codec in codecs:
                out = Path(folder) / f"{codec}{size}"
                make_set(out, size, codec)
                kb = sum(path.stat().st_size for path in out.glob("*.tar")) / 1024 / CLIPS / FRAMES
                for kind, drawing in (("generator", True), ("expert", False)):
                    rate, _ = draw(out, size, drawing, seconds)
                    with timed_steps() as clock:
                        slow_rate, count = draw(out, size, drawing, seconds / 2, clock)
                    split = {step: 1e6 * spent / count for step, spent in clock.spent.items()}
                    split["rest"] = 1e6 / slow_rate - sum(split.values())
                    shown = "  ".join(f"{step} {spent:.0f}" for step, spent in split.items())
                    print(f"{codec:<6}{size:>5}{kind:>10}{rate:>7.0f}{kb:>10.1f}   {shown}", flush=True)


if __name__ == "__main__":
    main()
