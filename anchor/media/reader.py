"""Read a video at 25 frames per second, on the time axis of its sound.

decord reads the frames of clips that fit into its memory, PyAV those of longer ones and of what decord gets wrong. PyAV
also tells where picture and sound begin: decord counts time from the first frame, so a picture that starts late would
otherwise move against its speech. Output frame ``i`` is what a viewer sees in the
middle of its 40 ms, at ``(i + 0.5) / 25`` s after the first sample of the sound: the middle is unbiased for every
source rate, and rounded timestamps cannot tip it for a source at 25.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.timing import FPS

__all__ = ["FrameReader", "VideoInfo", "open_media", "probe", "read_video_25fps"]

# decord decodes ahead of a slow reader without limit (4 GB within the first 1000 frames of a 720p clip whose faces
# were looked for meanwhile): it may have clips whose pictures, all of them, fit into this many bytes.
DECORD_BYTES = 384 * 2**20
SLACK_S = 0.001  # a picture that begins this shortly after the middle counts as shown: containers round to 1 ms
MAX_PIXELS = 8192 * 8192  # what one picture may have: a header can claim anything


@dataclass(frozen=True)
class VideoInfo:
    """What the container says about a video; sizes are as displayed, times in seconds on the container's axis."""

    width: int  # px, after rotation, of square pixels
    height: int
    fps: float  # mean
    num_frames: int  # 0 where the container does not say
    duration_s: float  # of the picture
    start_s: float  # when the first picture is shown
    rotation: int  # degrees counterclockwise that the player turns the picture: 0, 90, 180, -90
    has_audio: bool
    codec: str
    audio_start_s: float = 0.0  # when the first sample sounds

    @property
    def offset_s(self) -> float:
        """How much later the picture begins than the sound; 0.0 where there is no sound."""
        return self.start_s - self.audio_start_s if self.has_audio else 0.0


@contextlib.contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """A PyAV container for reading; what PyAV cannot open becomes a MediaError that says why."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise MediaError(f"{path} {what}. Give the path of a video or sound file.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} has zero bytes. Copy or record it again.")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is no video or sound file that FFmpeg can read ({_reason(error)}). "
            "If it should be one, it was cut off or damaged: copy it again."
        ) from error
    try:
        yield container
    except av.error.FFmpegError as error:
        raise MediaError(f"{path} is damaged: FFmpeg stopped with {_reason(error)!r}. Copy it again.") from error
    finally:
        container.close()


def probe(path: Path) -> VideoInfo:
    """Size, rate, times and rotation of a video; decodes one picture.

    Raises:
        MediaError: the file is missing, empty, damaged, or holds no video.
    """
    with open_media(path) as container:
        if not container.streams.video:
            raise MediaError(f"{path} holds no picture, only {_streams(container)}. Give a video.")
        stream = container.streams.video[0]
        audio = container.streams.audio[0] if container.streams.audio else None
        first = next(container.decode(stream), None)
        if first is None or first.width * first.height > MAX_PIXELS:
            got = "no picture could be decoded" if first is None else f"a picture is {first.width}x{first.height}"
            raise MediaError(f"{path} cannot be used: {got}. Convert or copy it again.")
        rotation = int(round(first.rotation / 90) * 90)
        shape = float(stream.sample_aspect_ratio or 1)  # of a pixel: 4/3 in HDV and much broadcast material
        coded_width = round(first.width * shape) if 0.2 < shape < 5 else first.width
        width, height = (first.height, coded_width) if rotation % 180 else (coded_width, first.height)
        start = float(first.time) if first.time is not None else _seconds(stream.start_time, stream.time_base)
        length = _seconds(stream.duration, stream.time_base) or _seconds(container.duration, Fraction(1, av.time_base))
        return VideoInfo(
            width=width,
            height=height,
            fps=float(stream.average_rate or stream.guessed_rate or FPS),
            num_frames=int(stream.frames),
            duration_s=length,
            start_s=start,
            rotation=rotation,
            has_audio=audio is not None,
            codec=stream.codec_context.name,
            audio_start_s=_audio_start(Path(path)) if audio is not None else 0.0,
        )


def as_displayed(picture: np.ndarray, info: VideoInfo) -> np.ndarray:
    """``picture`` at the size of ``info``: pixels may not be square, and a file may change its size in the middle."""
    import cv2

    size = (info.width, info.height)
    return picture if picture.shape[1::-1] == size else cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


class FrameReader:
    """The pictures of a video at 25 frames per second, in order: iterate for ``(i, uint8 RGB (H, W, 3))``.

    ``i`` counts from the first sample of the sound (from the first picture where there is none). ``first_frame`` is
    the first ``i`` with a picture and ``num_frames`` the one after the last, both estimates until iterated where
    PyAV reads. ``backend`` says who reads: "decord", or "pyav" for what is too long for decord's memory (see
    ``DECORD_BYTES``) or what it cannot take; ``reason`` says why it could not.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo | None = None,
        threads: int = 0,
        backend: Literal["auto", "decord", "pyav"] = "auto",
    ) -> None:
        self.path = Path(path)
        self.info = info or probe(self.path)
        self.threads = threads
        self.reason = ""
        self.first_frame: int
        self.num_frames: int
        self._decord: Any = None
        self._times_N2: np.ndarray | None = None
        count = self.info.num_frames or self.info.duration_s * self.info.fps
        if backend == "auto" and count * self.info.width * self.info.height * 3 > DECORD_BYTES:
            backend = "pyav"
        if backend in ("auto", "decord"):
            try:
                self._open_decord()
            except Exception as error:  # decord raises RuntimeError, DECORDError and others
                if backend == "decord":
                    raise MediaError(f"{self.path}: decord cannot read it: {_reason(error)}. Try PyAV.") from error
                self.reason = _reason(error)
        if self._times_N2 is not None:
            self.first_frame = max(0, _first_slot(self._times_N2[0, 0]))
            self.num_frames = max(self.first_frame, _first_slot(self._times_N2[-1, 1]))
        else:
            begin = self.info.offset_s
            self.first_frame = max(0, _first_slot(begin))
            self.num_frames = max(self.first_frame, _first_slot(begin + self.info.duration_s))

    @property
    def backend(self) -> str:
        """Who reads: "decord" or "pyav"."""
        return "pyav" if self._times_N2 is None else "decord"

    def _open_decord(self) -> None:
        decord = _import_decord()
        self._decord = decord.VideoReader(str(self.path), ctx=decord.cpu(0), num_threads=self.threads)
        count = len(self._decord)
        if count == 0:
            raise MediaError("decord finds no frames")
        times_N2 = np.asarray(self._decord.get_frame_timestamp(list(range(count))), np.float64).reshape(count, 2)
        if not np.isfinite(times_N2).all() or (np.diff(times_N2[:, 0]) < 0).any():
            raise MediaError("decord's timestamps are not in order")
        if count > 1:  # decord cuts the last picture short where the first is shown late
            times_N2[-1, 1] = max(times_N2[-1, 1], times_N2[-1, 0] + np.median(np.diff(times_N2[:, 0])))
        beyond_s = times_N2[-1, 1] - times_N2[0, 0] - self.info.duration_s
        if self.info.duration_s and beyond_s > 0.1 + 2 / self.info.fps:
            raise MediaError(f"decord counts {beyond_s:.2f} s that an edit list hides")  # a cut without re-encoding
        self._times_N2 = times_N2 - times_N2[0, 0] + self.info.offset_s

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for number, picture in self._iterate():
            yield number, as_displayed(picture, self.info)

    def _iterate(self) -> Iterator[tuple[int, np.ndarray]]:
        if self._times_N2 is None:
            yield from self._iterate_pyav()
            return
        done = self.first_frame
        try:
            for done, picture in self._iterate_decord():
                yield done, picture
                done += 1
        except _DecordFailedError as error:
            self.reason, self._times_N2, self._decord = str(error), None, None
            yield from (pair for pair in self._iterate_pyav() if pair[0] >= done)

    def _iterate_decord(self) -> Iterator[tuple[int, np.ndarray]]:
        assert self._times_N2 is not None
        slots = np.arange(self.first_frame, self.num_frames)
        shown = np.searchsorted(self._times_N2[:, 0], (slots + 0.5) / FPS + SLACK_S, side="right") - 1
        shown = np.clip(shown, 0, len(self._times_N2) - 1)
        slot = position = 0
        try:
            self._decord.seek(0)
            for number in np.unique(shown).tolist():
                if number > position:
                    self._decord.skip_frames(number - position)
                picture = self._decord.next().asnumpy()  # get_batch would keep every picture that it decoded
                position = number + 1
                while slot < len(slots) and shown[slot] == number:
                    yield int(slots[slot]), picture
                    slot += 1
        except Exception as error:
            raise _DecordFailedError(_reason(error)) from error

    def _iterate_pyav(self) -> Iterator[tuple[int, np.ndarray]]:
        turns = self.info.rotation // 90
        axis = self.info.start_s - self.info.offset_s  # the container time that is 0 on the sound's axis
        slot, shown = self.first_frame, None
        with open_media(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = self.threads
            end = 0.0
            for frame in container.decode(stream):
                begin = (float(frame.time) if frame.time is not None else end + axis) - axis
                while shown is not None and (slot + 0.5) / FPS + SLACK_S < begin:
                    yield slot, shown
                    slot += 1
                shown = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                end = begin + 1 / self.info.fps
            while shown is not None and (slot + 0.5) / FPS + SLACK_S < end:
                yield slot, shown
                slot += 1
        self.num_frames = slot


def read_video_25fps(path: Path, threads: int = 0) -> FrameReader:
    """The frames of ``path`` at 25 fps on the axis of its sound; see ``FrameReader``. Memory stays bounded.

    Raises:
        MediaError: the file is missing, empty, damaged, or holds no video; also while iterating.
    """
    return FrameReader(path, threads=threads)


class _DecordFailedError(Exception):
    """decord gave up in the middle of a file."""


def _import_decord() -> Any:
    """decord, without its libraries in the names that all others see.

    It loads itself with RTLD_GLOBAL; its old zlib then answers to libpng in cv2 and torchvision, which refuse every
    PNG from there on ("bad parameters to zlib"; decord 0.6.0).
    """
    mode = ctypes.RTLD_GLOBAL
    ctypes.RTLD_GLOBAL = ctypes.RTLD_LOCAL  # type: ignore[misc]
    try:
        import decord
    finally:
        ctypes.RTLD_GLOBAL = mode  # type: ignore[misc]
    return decord


def _audio_start(path: Path) -> float:
    """When the first sample of ``read_audio`` sounds: later than the track begins where priming is dropped."""
    with open_media(path) as container:
        stream = container.streams.audio[0]
        start = _seconds(stream.start_time, stream.time_base)
        with contextlib.suppress(av.error.FFmpegError):
            first = next(container.decode(stream), None)
            start = start if first is None or first.time is None else float(first.time)
    return start


def _first_slot(seconds: float) -> int:
    """The first output frame whose middle is not before ``seconds``."""
    return int(np.ceil((seconds - SLACK_S) * FPS - 0.5))


def _seconds(ticks: int | None, time_base: Fraction | None) -> float:
    return float(ticks * time_base) if ticks is not None and time_base is not None else 0.0


def _streams(container: Any) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[-1][:200] if text.strip() else type(error).__name__
