"""Peak memory of one worker of `anchor preprocess`: ten minutes at 720p, and a short clip at 4K.

    python benchmarks/memory_preprocess.py [minutes=10] [only=720p|4k]

Renders both clips from a drawn speaker, processes each in a process of its own with the Haar detector, and prints the
peak resident memory (VmHWM, with the 0.65 GB of libraries that are mapped) and the milliseconds per frame.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

CHILD = """
import sys, time, json
from pathlib import Path
from anchor.preprocess.memory import keep_one_arena
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sources import find_sources
from anchor.preprocess.work import FinishedClips
keep_one_arena()
start = time.perf_counter()
source = find_sources(Path(sys.argv[1]))[0]
result = FinishedClips(Path(sys.argv[2])).make(source, ClipSettings(192, "haar", 5, 250, 15))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({"peak_gb": int(status["VmHWM"].split()[0]) / 2**20, "seconds": time.perf_counter() - start,
                  "frames": result.facts.get("frames", 0), "reason": result.reason, "reader": result.facts["reader"]}))
"""


def render(path: Path, width: int, height: int, seconds: float) -> None:
    """A drawn speaker, enlarged, over noise; four seconds forwards and backwards until the time is up."""
    from anchor.media import write_video
    from anchor.synth.cast import draw_person
    from anchor.synth.clip import make_clip

    clip = make_clip(draw_person(0, 1), 0, seconds=4, size=256)
    side = height * 9 // 10
    left = (width - side) // 2
    room = cv2.resize(
        np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8), (width, height)
    )
    pictures = list(clip.frames())

    def frames():
        for picture in itertools.islice(itertools.cycle(pictures + pictures[::-1]), round(25 * seconds)):
            frame = room.copy()
            frame[height - side :, left : left + side] = cv2.resize(picture, (side, side))
            yield frame

    sound = np.resize(clip.samples, round(16_000 * seconds))
    write_video(path, frames(), audio=sound, sample_rate=16_000, preset="ultrafast", crf=28)


def main() -> None:
    """Render, process and print, one clip after another."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    minutes = float(options.get("minutes", 10))
    clips = {"720p": (1280, 720, 60 * minutes), "4k": (3840, 2160, 8)}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options["only"]] if "only" in options else clips:
            width, height, seconds = clips[name]
            path = Path(folder) / f"{name}.mp4"
            start = time.perf_counter()
            render(path, width, height, seconds)
            print(
                f"{name}: {width}x{height}, {seconds:.0f} s, rendered in {time.perf_counter() - start:.0f} s",
                flush=True,
            )
            command = [sys.executable, "-c", CHILD, str(path), f"{folder}/work-{name}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            got = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name}: peak {got['peak_gb']:.2f} GB, {1e3 * got['seconds'] / max(1, got['frames']):.1f} ms per frame"
                f", {got['frames']} frames, read by {got['reader']}{got['reason']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
