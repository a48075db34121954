"""Milliseconds per picture of face detection: one picture at a time on the CPU, and in batches as a torch module.

    ANCHOR_MODELS=DIR python benchmarks/detect.py [detector=yunet] [device=cpu] [frames=96] [rounds=5] [source=VIDEO]

Without ``source`` the pictures are drawn speakers at 1280x720. Shrinking the frames is part of both, decoding of
neither. Each round takes all pictures once with each; printed are the medians of the rounds, and how far the faces
found lie apart. Threads are as many as OMP_NUM_THREADS says.
"""

import itertools
import platform
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from anchor.faces import make_detector


def draw(count: int) -> list[np.ndarray]:
    """Drawn speakers, enlarged, on a grey wall."""
    from anchor.synth.cast import draw_person
    from anchor.synth.clip import make_clip

    pictures = []
    for frame in itertools.islice(
        itertools.cycle(make_clip(draw_person(0, 1), 0, seconds=4, size=256).frames()), count
    ):
        picture = np.full((720, 1280, 3), 128, np.uint8)
        picture[60:, 300:960] = cv2.resize(frame, (660, 660))
        pictures.append(picture)
    return pictures


def read(source: Path, count: int) -> list[np.ndarray]:
    """Pictures of a video, as they come."""
    from anchor.media import FrameReader

    with_numbers = itertools.islice(FrameReader(source, backend="pyav"), count)
    return [picture for _, picture in with_numbers]


def processor() -> str:
    """The name of the processor, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Measure and print a table."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    name, device = options.get("detector", "yunet"), options.get("device", "cpu")
    count = int(options.get("frames", 96))
    pictures = read(Path(options["source"]), count) if "source" in options else draw(count)
    single = make_detector(name, device="cpu")
    batched = make_detector(name, device=device, runtime="torch")
    cv2.setNumThreads(torch.get_num_threads())
    ways = {
        f"{single.name}, one at a time, cpu": lambda: [single.detect(picture) for picture in pictures],
        f"{single.name}, torch, batches of {batched.batch_size}, {batched.device}": lambda: batched.detect_batch(
            pictures
        ),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    found = {way: run() for way, run in ways.items()}  # and nothing is loaded or prepared later
    for _ in range(int(options.get("rounds", 5))):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            spent[way].append(1e3 * (time.perf_counter() - start) / len(pictures))
    card = torch.cuda.get_device_name() if batched.device.type == "cuda" else batched.device.type
    height, width = pictures[0].shape[:2]
    print(f"{len(pictures)} pictures of {width}x{height}, {processor()}, {torch.get_num_threads()} thread(s), {card}")
    for way, times in spent.items():
        print(f"{way}: {statistics.median(times):.2f} ms per picture ({min(times):.2f} to {max(times):.2f})")
    one, other = found.values()
    counts = [len(faces) for faces in one]
    alike = counts == [len(faces) for faces in other]
    gap = max(
        (
            float(np.abs(a.box - b.box).max())
            for x, y in zip(one, other, strict=True)
            for a, b in zip(x, y, strict=False)
        ),
        default=0.0,
    )
    how_many = "as many in every picture" if alike else "NOT as many in every picture"
    print(f"{sum(counts)} faces, {how_many}, boxes at most {gap:.4f} px apart")


if __name__ == "__main__":
    main()
