"""Peak memory and speed of `anchor infer` on long and large videos.

    python benchmarks/memory_infer.py [portrait] [turning] [uhd] [face=FILE]

Each case makes a video of a drawn person (or of `face=`, whose pictures are then enlarged to the case's size), runs
the command in a process of its own, and prints its greatest resident set (VmHWM, as the kernel counts it) and what it
said. The network is a `unet168` with random weights: its speed and memory are those of a trained one.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from anchor.inference import back_and_forth
from anchor.media.reader import FrameReader
from anchor.models import LipGenerator, describe
from anchor.synth.corpus import render_corpus

# name: width, height, seconds of video, seconds of speech, encoder (x265 takes minutes for a minute)
CASES = {
    "portrait": (1080, 1920, 62, 60, "libx264"),  # forwards only: the video is longer than the speech
    "turning": (1080, 1920, 10, 60, "libx265"),  # back and forth: pictures go to disk
    "uhd": (3840, 2160, 11, 10, "libx264"),
}
BOUND_MB = 1600


def main(words: list[str]) -> int:
    """Run the cases named, all without a name; 1 if one needs more than the bound."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    names = [word for word in words if "=" not in word] or list(CASES)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {_cpu_name()}")
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _save_network(work / "net.ckpt")
        source = Path(options["face"]) if "face" in options else _render(work)
        for name in names:
            worst = max(worst, _measure(name, source, work))
    return int(worst > BOUND_MB)


def _measure(name: str, source: Path, work: Path) -> int:
    width, height, video_s, speech_s, codec = CASES[name]
    face, speech, out = work / f"{name}.mp4", work / f"{name}.wav", work / "out.mp4"
    _write_video(face, _enlarged(source, width, height, 25 * video_s), width, height, codec)
    _write_noise(speech, speech_s)
    command = [sys.executable, "-m", "anchor", "infer", f"face={face}", f"speech={speech}"]
    command += [f"checkpoint={work / 'net.ckpt'}", f"out={out}", "device=cpu"]
    print(
        f"\n{name}: {width}x{height} {codec}, {video_s} s of video, {speech_s} s of speech\n$ {' '.join(command[1:])}",
        flush=True,
    )
    started = time.monotonic()
    with (work / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, stdout=said)
        peak_mb = 0
        while process.poll() is None:
            peak_mb = max(peak_mb, _peak_mb(process.pid))
            time.sleep(0.05)
        seconds, status = time.monotonic() - started, process.returncode
        said.seek(0)
        print(said.read().strip())
    print(f"peak {peak_mb} MB, {25 * speech_s / seconds:.1f} frames/s with the start, status {status}", flush=True)
    for path in (face, speech, out):
        path.unlink(missing_ok=True)
    return peak_mb if status == 0 else BOUND_MB + 1


def _peak_mb(process: int) -> int:
    """VmHWM so far; wait4's ru_maxrss would hold what the parent was at the fork."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def _render(work: Path) -> Path:
    render_corpus(out=work / "people", speakers=1, clips=1, seconds=4.0, size=512, workers=1)
    return next((work / "people").rglob("*.mp4"))


def _enlarged(source: Path, width: int, height: int, count: int) -> Iterator[np.ndarray]:
    """``count`` pictures of ``source``, back and forth, in the middle of a grey picture."""
    pictures = [picture.copy() for _, picture in FrameReader(source, backend="pyav")]
    scale = min(width, height) / max(pictures[0].shape[:2])
    size = round(pictures[0].shape[1] * scale), round(pictures[0].shape[0] * scale)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    for number in back_and_forth(count, len(pictures)):
        canvas = np.full((height, width, 3), 96, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(pictures[number], size)
        yield canvas


def _write_video(path: Path, pictures: Iterator[np.ndarray], width: int, height: int, codec: str) -> None:
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "24"} | (
            {"x265-params": "log-level=error"} if codec == "libx265" else {}
        )
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _write_noise(path: Path, seconds: int) -> None:
    samples = np.random.default_rng(0).normal(0, 2000, seconds * 16_000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


def _save_network(path: Path) -> None:
    net = LipGenerator(image_size=168, widths=(16, 32, 64, 96, 128), strides=(2, 2, 2, 3, 1))
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, path)


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
