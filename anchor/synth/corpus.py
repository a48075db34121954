"""``anchor synth``: drawn, talking people as ordinary video files, each with a file of truth beside it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

from anchor.errors import ConfigError, MediaError
from anchor.media.writer import write_video
from anchor.synth.cast import clip_stem, draw_person, person_name
from anchor.synth.clip import make_clip
from anchor.timing import SAMPLE_RATE

__all__ = ["TRUTH_SUFFIX", "render_corpus"]

TRUTH_SUFFIX = ".truth.json"
RENDERER_VERSION = 1  # raise it when the same parameters draw something else: finished clips are drawn again
# Visually lossless. The faster preset is also the one without mbtree, whose result differs from run to run in x264.
CRF, PRESET = 17, "ultrafast"
LIMITS: dict[str, tuple[float, float]] = {
    "speakers": (1, 1000),
    "clips": (1, 100),
    "seconds": (0.2, 600),
    "size": (96, 512),
    "fps": (5, 120),
    "offset_ms": (-2000, 2000),
    "silence": (0, 1),
    "noise": (0, 60),
    "missing_face_s": (0, 600),
    "seed": (0, 2**31),
    "workers": (0, 1024),
}


def render_corpus(
    *,
    out: Path,
    speakers: int = 8,
    clips: int = 2,
    seconds: float = 4.0,
    size: int = 256,
    fps: float = 25.0,
    language: Literal["en", "zh", "mixed"] = "mixed",
    offset_ms: int = 0,
    silence: float = 0.0,
    cut: bool = False,
    noise: float = 0.0,
    missing_face_s: float = 0.0,
    seed: int = 0,
    held_out: bool = False,
    workers: int = 0,
) -> None:
    """Render drawn people who speak, with known truth, into out=DIR.

    Each of the speakers= people talks in clips= videos, <speaker>_<take>.mp4, of seconds= at fps=, with pictures of
    size= x size= pixels; <speaker>_<take>.truth.json holds what is in it: the mouth opening, face box and landmarks of
    every frame, the text and its phonemes. The same parameters and seed= give the same corpus bit for bit, and clips
    that are already there are kept.

    offset_ms= delays the sound (negative: hastens it). silence= is the share of each clip that is pauses. cut=true
    changes the shot, the look and the room in the middle. noise= is sensor noise in grey levels, with hiss to match.
    missing_face_s= takes the face out of the picture for that long. held_out=true uses looks and voices that no other
    corpus has. workers=0 uses all cores.
    """
    # What a clip depends on; recorded in its truth.
    parameters: dict[str, Any] = {
        "renderer_version": RENDERER_VERSION,
        "seconds": seconds,
        "size": size,
        "fps": fps,
        "language": language,
        "offset_ms": offset_ms,
        "silence": silence,
        "cut": cut,
        "noise": noise,
        "missing_face_s": missing_face_s,
        "seed": seed,
        "held_out": held_out,
    }
    _check({**parameters, "speakers": speakers, "clips": clips, "workers": workers})
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out}: the folder cannot be made: {error}. Choose another.") from error

    started_s = time.monotonic()
    wanted = list(itertools.product(range(speakers), range(clips)))
    missing = [job for job in wanted if not _is_rendered(out, *job, parameters)]
    workers = min(workers or os.cpu_count() or 1, max(1, len(missing)))
    progress = _Progress(len(missing))
    try:
        for num_frames in _render_all(out, missing, parameters, workers):
            progress.advance(num_frames)
    except KeyboardInterrupt:
        print(f"\nStopped: {progress.num_clips} clips are finished and stay in {out}; the same command goes on.")
        raise
    elapsed_s = max(time.monotonic() - started_s, 1e-9)
    kept = len(wanted) - len(missing)
    print(
        f"{out}: {len(wanted)} clips of {speakers} speakers, {len(wanted) * seconds:g} s of video "
        f"({kept} clips were there); rendered {progress.num_frames} frames in {elapsed_s:.1f} s, "
        f"{progress.num_frames / elapsed_s:.0f} frames/s."
    )


def _render_all(out: Path, jobs: list[tuple[int, int]], parameters: dict[str, Any], workers: int) -> Iterator[int]:
    """Render the jobs (person, take); yields the number of frames of each finished clip."""
    if workers == 1:
        for job in jobs:
            yield _render_clip(out, *job, parameters)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads of torch and cv2
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts) as pool:
        futures = [pool.submit(_render_clip, out, *job, parameters) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise MediaError(
                f"{out}: a worker died, most likely for want of memory. "
                f"Run it again with fewer workers= than {workers}."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # clips under way are finished, the others left out


def _render_clip(out: Path, number: int, take: int, parameters: dict[str, Any]) -> int:
    """Write one clip and its truth; returns its number of frames. The truth comes last and marks it as complete."""
    truth_path = _truth_path(out, number, take, parameters["held_out"])
    truth_path.unlink(missing_ok=True)
    person = draw_person(parameters["seed"], number, parameters["language"], parameters["held_out"])
    clip = make_clip(
        person,
        take,
        seconds=parameters["seconds"],
        size=parameters["size"],
        fps=parameters["fps"],
        offset_ms=parameters["offset_ms"],
        silence=parameters["silence"],
        cut=parameters["cut"],
        noise=parameters["noise"],
        missing_face_s=parameters["missing_face_s"],
    )
    num_frames = write_video(
        out / f"{clip.stem}.mp4",
        clip.frames(),
        fps=clip.fps,
        audio=clip.samples,
        sample_rate=SAMPLE_RATE,
        crf=CRF,
        preset=PRESET,
        threads=1,
    )
    partial = truth_path.with_name(f".{truth_path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps({**clip.truth(), "parameters": parameters}, ensure_ascii=False), encoding="utf-8")
    partial.replace(truth_path)
    return num_frames


def _is_rendered(out: Path, number: int, take: int, parameters: dict[str, Any]) -> bool:
    """Whether this clip stands there complete, drawn with the same parameters."""
    truth_path = _truth_path(out, number, take, parameters["held_out"])
    video_path = truth_path.with_name(truth_path.name.removesuffix(TRUTH_SUFFIX) + ".mp4")
    try:
        truth = json.loads(truth_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return truth.get("parameters") == parameters and video_path.is_file()


def _truth_path(out: Path, number: int, take: int, held_out: bool) -> Path:
    return out / f"{clip_stem(person_name(number, held_out), take)}{TRUTH_SUFFIX}"


def _check(values: dict[str, Any]) -> None:
    for name, (low, high) in LIMITS.items():
        if not low <= values[name] <= high:
            raise ConfigError(f"{name}={values[name]} is out of range. Choose from {low:g} to {high:g}.")
    if values["size"] % 2:
        raise ConfigError(f"size={values['size']} is odd, and video needs even sides. Choose {values['size'] + 1}.")
    if values["missing_face_s"] > values["seconds"]:
        raise ConfigError(
            f"missing_face_s={values['missing_face_s']:g} is longer than the clip. "
            f"Choose at most seconds={values['seconds']:g}."
        )
    if values["language"] not in ("en", "zh", "mixed"):
        raise ConfigError(f"language={values['language']} is not spoken here. Choose en, zh or mixed.")


def _ignore_interrupts() -> None:
    """Ctrl-C goes to every process of a terminal; the parent alone decides what happens then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Progress:
    """One line that changes in a terminal; about ten lines in a log."""

    def __init__(self, total: int) -> None:
        self.num_clips, self.num_frames, self._total = 0, 0, total
        self._started_s = time.monotonic()

    def advance(self, num_frames: int) -> None:
        self.num_clips, self.num_frames = self.num_clips + 1, self.num_frames + num_frames
        speed = self.num_frames / max(time.monotonic() - self._started_s, 1e-9)
        line = f"rendered {self.num_clips} of {self._total} clips, {speed:.0f} frames/s"
        if sys.stdout.isatty():
            print(f"\r{line}", end="\n" if self.num_clips == self._total else "", flush=True)
        elif self.num_clips * 10 // self._total > (self.num_clips - 1) * 10 // self._total:
            print(line, flush=True)
