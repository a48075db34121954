"""Look into a video without reading all of it: times of its pictures from the packets, and a few hundred pictures.

A short clip is decoded from end to end. Of a long one, moments are decoded that begin at key pictures, so that an
hour costs about as much as a minute. Only pictures that are asked for become RGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.media import VideoInfo
from anchor.media.reader import SLACK_S, as_displayed, open_media
from anchor.timing import FPS

__all__ = ["SAMPLE_STRIDE", "Moment", "Timeline", "frame_from", "plan_moments", "read_moments", "read_timeline"]

SAMPLE_STRIDE = 5  # frames of 25 fps between the pictures looked at: where `anchor preprocess` looks for faces
MAX_SAMPLES = 300  # pictures looked at in a clip: all of them up to a minute
MOMENTS = 50  # stretches of a longer clip; six pictures each, a second
MIN_KEYS = 10  # a long clip with fewer key pictures is decoded from end to end: jumping would see too little of it
UNEVEN_SHARE = 0.02  # of the intervals between pictures may differ; a dropped picture now and then is no other rate
UNEVEN = 0.2  # of the median interval: containers round to 1 ms, which is 0.06 at 60 fps
MAX_BAD_SHARE = 0.05  # of the packets that may fail to decode


@dataclass(frozen=True)
class Timeline:
    """When the pictures of a video are shown, on the container's axis."""

    fps: float  # of the median interval where the rate is constant, else the mean
    is_variable: bool
    seconds: float  # from the first picture to the end of the last
    keys_s: tuple[float, ...]  # pictures that can be jumped to; empty where the container has no timestamps


@dataclass(frozen=True)
class Moment:
    """Frames at 25 fps to look at, rising, that lie so near together that a face can be followed through them."""

    frames: tuple[int, ...]
    seek_s: float | None = None  # jump here first, on the container's axis; None: read on


def read_timeline(path: Path, info: VideoInfo) -> Timeline:
    """The times of all pictures, from the packets: nothing is decoded.

    Raises:
        MediaError: the file cannot be read.
    """
    times, keys = [], []
    is_stamped = True
    with open_media(path) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            ticks = packet.pts if packet.pts is not None else packet.dts
            is_stamped &= packet.pts is not None
            if ticks is None or packet.time_base is None:
                continue
            times.append(float(ticks * packet.time_base))
            if packet.is_keyframe:
                keys.append(times[-1])
    steps = np.diff(np.sort(np.array(times)))
    steps = steps[steps > 0]
    if len(steps) < 2:
        return Timeline(info.fps, False, info.duration_s, ())
    usual = float(np.median(steps))
    is_variable = bool((np.abs(steps - usual) > UNEVEN * usual).mean() > UNEVEN_SHARE)
    mean = float(steps.mean())
    seconds = len(times) * mean
    return Timeline(1 / mean, is_variable, seconds, tuple(sorted(keys)) if is_stamped else ())


def plan_moments(timeline: Timeline, info: VideoInfo, first: int, total: int) -> list[Moment]:
    """Where to look in frames ``[first, total)``: everywhere in a short clip, at about 50 moments of a long one."""
    every = range(first, total, SAMPLE_STRIDE)
    if len(every) <= MAX_SAMPLES:
        last = () if (total - 1 - first) % SAMPLE_STRIDE == 0 else (total - 1,)
        return [Moment((*every, *last))] if total > first else []
    axis = info.start_s - info.offset_s
    starts_s = np.array([key for key in timeline.keys_s if first <= frame_from(key - axis) < total - SAMPLE_STRIDE])
    is_jumping = len(starts_s) >= MIN_KEYS
    count = min(MOMENTS, len(starts_s)) if is_jumping else MOMENTS
    if is_jumping:
        starts_s = starts_s[np.linspace(0, len(starts_s) - 1, count).round().astype(int)]
    else:
        starts_s = axis + np.linspace(first, total - MAX_SAMPLES // MOMENTS * SAMPLE_STRIDE, count) / FPS
    moments, end = [], first
    for start_s in starts_s:
        begin = max(end, frame_from(start_s - axis))
        begin += (first - begin) % SAMPLE_STRIDE  # one grid for all: the tracker looks at every fifth frame of it
        frames = tuple(range(begin, total, SAMPLE_STRIDE))[: MAX_SAMPLES // count]
        if frames:
            moments.append(Moment(frames, float(start_s) if is_jumping else None))
            end = frames[-1] + SAMPLE_STRIDE
    return moments


def read_moments(
    path: Path, info: VideoInfo, moments: list[Moment], threads: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """``(frame, uint8 RGB (H, W, 3))`` for every frame of ``moments``: what is shown in the middle of its 40 ms.

    Raises:
        MediaError: the file is damaged, or a twentieth of what is read cannot be decoded.
    """
    axis = info.start_s - info.offset_s
    with open_media(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        decoded = _Decoder(container, stream, path, info)
        shown: Any = None
        for i, moment in enumerate(moments):
            if moment.seek_s is not None:
                container.seek(round(moment.seek_s / stream.time_base), stream=stream)
                shown = None
            if moment.seek_s is not None or i == 0:
                decoded.restart()
            for number in moment.frames:
                at_s = axis + (number + 0.5) / FPS + SLACK_S
                while decoded.next_s is not None and decoded.next_s <= at_s:
                    shown = decoded.take()
                if shown is not None:
                    picture = shown.to_ndarray(format="rgb24")
                    upright = np.ascontiguousarray(np.rot90(picture, info.rotation // 90))
                    yield number, as_displayed(upright, info)


class _Decoder:
    """The pictures of a stream in order, with a view of when the next one is shown."""

    def __init__(self, container: Any, stream: Any, path: Path, info: VideoInfo) -> None:
        self._container, self._stream, self._path, self._info = container, stream, path, info
        self._packets = self._bad = 0
        self._pictures: Iterator[Any] = iter(())
        self._next: Any = None
        self.next_s: float | None = None

    def restart(self) -> None:
        """Begin where the container stands now."""
        self._pictures = self._decode()
        self._end_s = self._info.start_s
        self._advance()

    def take(self) -> Any:
        """The next picture."""
        picture = self._next
        self._advance()
        return picture

    def _advance(self) -> None:
        self._next = next(self._pictures, None)
        if self._next is None:
            self.next_s = None
        else:
            self.next_s = float(self._next.time) if self._next.time is not None else self._end_s
            self._end_s = self.next_s + 1 / self._info.fps

    def _decode(self) -> Iterator[Any]:
        for packet in self._container.demux(self._stream):
            self._packets += 1
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                self._bad += 1
                continue
            yield from pictures
        if self._bad > MAX_BAD_SHARE * self._packets:
            raise MediaError(
                f"{self._path}: {self._bad} of {self._packets} packets of its picture cannot be decoded. "
                "Copy the file again."
            )


def frame_from(seconds: float) -> int:
    """The first frame at 25 fps whose middle is not before ``seconds``, on the axis of the sound."""
    return int(np.ceil((seconds - SLACK_S) * FPS - 0.5))
