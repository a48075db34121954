"""Peak memory of one worker of `anchor preprocess`: 1, 10 and 30 minutes at 720p, and a short clip at 4K.

    python benchmarks/memory_preprocess.py [minutes=1,10,30] [only=720p|4k] [detector=haar] [keep=DIR]

One minute of a drawn speaker is rendered, and repeated by ffmpeg without being encoded again. Each video is processed
in a process of its own, on one thread; printed are its peak resident memory (VmHWM, with the libraries that are
mapped), how much of that was there before the first frame, and the milliseconds per frame of every step. ``keep`` is a
folder where the videos stay for the next time.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from detect import processor

CHILD = """
import sys, time, json
from pathlib import Path
import cv2, torch
from anchor.preprocess.memory import keep_one_arena, peak_bytes
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sources import find_sources
from anchor.preprocess.work import FinishedClips
keep_one_arena()
cv2.setNumThreads(1)
torch.set_num_threads(1)
before, start = peak_bytes(), time.perf_counter()
source = find_sources(Path(sys.argv[1]))[0]
result = FinishedClips(Path(sys.argv[2])).make(source, ClipSettings(192, sys.argv[3], 5, 250, 15))
print(json.dumps({"peak_gb": peak_bytes() / 1e9, "before_gb": before / 1e9, "seconds": time.perf_counter() - start,
                  "kept": result.facts.get("frames", 0), "reason": result.reason, "facts": result.facts}))
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

    def frames() -> Iterator[np.ndarray]:
        for picture in itertools.islice(itertools.cycle(pictures + pictures[::-1]), round(25 * seconds)):
            frame = room.copy()
            frame[height - side :, left : left + side] = cv2.resize(picture, (side, side))
            yield frame

    sound = np.resize(clip.samples, round(16_000 * seconds))
    write_video(path, frames(), audio=sound, sample_rate=16_000, preset="ultrafast", crf=28)


def repeat(path: Path, minute: Path, times: int) -> None:
    """``minute`` so many times in a row, its packets as they are."""
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", str(times - 1), "-i", str(minute), "-c", "copy"]
    subprocess.run([*command, str(path)], check=True)


def measure(path: Path, work: Path, detector: str) -> None:
    """Process ``path`` in a process of its own, and print a line."""
    command = [sys.executable, "-c", CHILD, str(path), str(work), detector]
    load = os.getloadavg()[0]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    got = json.loads(done.stdout.splitlines()[-1])
    frames = max(1, round(25 * got["facts"].get("seconds", 0)))
    steps = ", ".join(f"{name} {spent}" for name, spent in got["facts"].get("ms_per_frame", {}).items())
    print(
        f"{path.stem}: peak {got['peak_gb']:.2f} GB ({got['before_gb']:.2f} before the first frame), "
        f"{1e3 * got['seconds'] / frames:.1f} ms per frame ({steps}), {frames} frames, {got['kept']} kept, read by "
        f"{got['facts'].get('reader')}, load {load:.1f}{', ' if got['reason'] else ''}{got['reason']}",
        flush=True,
    )


def main() -> None:
    """Render, process and print, one video after another."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    minutes = [int(text) for text in options.get("minutes", "1,10,30").split(",")]
    only, detector = options.get("only"), options.get("detector", "haar")
    print(f"{processor()}, {os.cpu_count()} cores, one thread, detector={detector}, image_size=192")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = Path(options.get("keep", scratch))
        folder.mkdir(parents=True, exist_ok=True)
        videos = [(folder / f"720p_{count}min.mp4", 1280, 720, count) for count in minutes]
        if only != "4k":
            minute = folder / "720p_minute.mp4"
            if not minute.exists():
                start = time.perf_counter()
                render(minute, 1280, 720, 60)
                print(f"one minute rendered in {time.perf_counter() - start:.0f} s", flush=True)
            for path, _, _, count in videos:
                if not path.exists():
                    repeat(path, minute, count)
                measure(path, scratch / "work", detector)
        if only != "720p":
            path = folder / "4k_8s.mp4"
            if not path.exists():
                render(path, 3840, 2160, 8)
            measure(path, scratch / "work", detector)


if __name__ == "__main__":
    main()
