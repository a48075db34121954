"""How fast windows come out of a set of shards, on one core: `python benchmarks/shards.py SET [windows]`.

A window is five neighbouring frames and one elsewhere in the same clip, drawn anew over all clips each time; every byte
is checked. The parts are measured in a second pass, with a clock around each, which costs a little itself.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch

from anchor.batch import ClipEntry
from anchor.shards import ShardSet, reader
from anchor.timing import WINDOW_FRAMES


def main(path: str, count: int = 1500) -> None:
    """Print windows per second and microseconds per frame."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    source, rng = ShardSet(path), np.random.default_rng(0)
    windows = [_draw(source, rng) for _ in range(count)]
    for clip, frames in windows[:50]:
        source.read_frames(clip, frames)
    seconds = min(_read(source, windows) for _ in range(3))
    frames_read = count * (WINDOW_FRAMES + 1)
    print(f"{path}: codec {source.codec}, {source.image_size} px, {len(source.clips)} clips")
    print(f"{count / seconds:.0f} windows/s, {seconds / frames_read * 1e6:.0f} us per frame")
    spent: Counter[str] = Counter()
    source.files.read = _timed(source.files.read, "read", spent)  # type: ignore[method-assign]
    reader.decode_into = _timed(reader.decode_into, "decode", spent)  # type: ignore[attr-defined]
    reader.decode_video = _timed(reader.decode_video, "decode", spent)  # type: ignore[attr-defined]
    reader.zlib = SimpleNamespace(crc32=_timed(zlib.crc32, "check", spent))  # type: ignore[attr-defined]
    total = _read(source, windows)
    parts = {**spent, "rest": total - sum(spent.values())}
    print(", ".join(f"{name} {part / frames_read * 1e6:.1f} us" for name, part in parts.items()))


def _draw(source: ShardSet, rng: np.random.Generator) -> tuple[ClipEntry, list[int]]:
    clip = source.clips[int(rng.integers(len(source.clips)))]
    first = int(rng.integers(clip.num_frames - WINDOW_FRAMES))
    return clip, [*range(first, first + WINDOW_FRAMES), int(rng.integers(clip.num_frames))]


def _read(source: ShardSet, windows: list[tuple[ClipEntry, list[int]]]) -> float:
    begin = time.process_time()
    for clip, frames in windows:
        source.read_frames(clip, frames)
    return time.process_time() - begin


def _timed(function: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        begin = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[name] += time.process_time() - begin  # type: ignore[assignment]

    return timed


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
