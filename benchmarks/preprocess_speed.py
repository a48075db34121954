"""How fast `anchor preprocess` is on one core, as a multiple of real time, and where the time goes.

    ANCHOR_MODELS=DIR python benchmarks/preprocess_speed.py [source=VIDEO] [seconds=60] [detectors=yunet,haar]
        [rounds=3]

Without ``source`` the video is a drawn speaker of 512x512 px, ``seconds`` long. Everything is as the command does it
by default; the clip is processed ``rounds`` times on one thread, after one that is not counted. Printed are the
multiples of real time by the clock and by processor time (which other programs on the machine change less), and the
milliseconds per frame of each step in the fastest round.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import torch
from detect import processor
from memory_preprocess import render

from anchor.faces import make_detector
from anchor.media import probe
from anchor.preprocess.cleaning.limits import Limits
from anchor.preprocess.settings import check_settings
from anchor.preprocess.sources import find_sources
from anchor.preprocess.work import FinishedClips


def main() -> None:
    """Measure each detector and print a table."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    rounds = int(options.get("rounds", 3))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        video = Path(options.get("source", f"{scratch}/drawn.mp4"))
        if "source" not in options:
            render(video, 512, 512, float(options.get("seconds", 60)))
        source, info = find_sources(video)[0], probe(video)
        print(f"{video.name}: {info.width}x{info.height}, {info.fps:g} fps, {info.codec}; {processor()}, one thread")
        for name in options.get("detectors", "yunet,haar").split(","):
            settings = check_settings(192, make_detector(name).name, 5, 10.0, 0.6, limits=Limits())
            finished, taken = FinishedClips(Path(scratch) / f"work-{name}"), []
            for number in range(rounds + 1):
                wall, used, load = time.perf_counter(), time.process_time(), os.getloadavg()[0]
                result = finished.make(source, settings)
                wall, used = time.perf_counter() - wall, time.process_time() - used
                if not result.is_kept:
                    sys.exit(result.reason)
                if number:
                    taken.append((wall, used, load, result.facts))
            seconds = taken[0][3]["seconds"]
            best = min(taken, key=lambda one: one[0])
            median, cpu = statistics.median(one[0] for one in taken), min(one[1] for one in taken)
            print(
                f"{name}: {seconds / best[0]:.1f}x real time at best, {seconds / median:.1f}x median of {rounds}, "
                f"{seconds / cpu:.1f}x by processor time; load {min(one[2] for one in taken):.1f} to "
                f"{max(one[2] for one in taken):.1f}; {best[3]['frames']} of {round(25 * seconds)} frames kept"
            )
            for step, spent in best[3]["ms_per_frame"].items():
                print(f"  {step:<20}{spent:6.2f} ms per frame")
            print(f"  {'sum':<20}{sum(best[3]['ms_per_frame'].values()):6.2f} ms per frame", flush=True)


if __name__ == "__main__":
    main()
