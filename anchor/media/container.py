"""What a media file holds: opening it, and the facts of its picture, on the container's time axis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.timing import FPS

__all__ = ["VideoInfo", "as_displayed", "open_media", "probe", "reason_of"]

MAX_PIXELS = 8192 * 8192  # what one picture may have: a header can claim anything
# Containers that hold what they show. FFmpeg knows playlists and descriptions besides (HLS, DASH, concat, SDP), which
# name other files and addresses for it to open: somebody's "video" would be what else lies on this machine.
FORMATS = (
    "3gp,aac,ac3,aiff,amr,apng,asf,au,avi,caf,dv,eac3,flac,flv,gif,gxf,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,mp4,"
    "mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,w64,wav,webm,webp,wtv,wv,yuv4mpegpipe"
)
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"<?xml", b"v=0", b"[playlist]", b"#EXTINF")


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
    limit = {"max_pixels": str(MAX_PIXELS)}
    doors = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(
            str(path.absolute()),  # "concat:x" would be a protocol
            metadata_errors="replace", options=limit, container_options=doors,
        )  # fmt: skip
        for stream in container.streams.video:
            if stream.codec_context is not None:  # of a codec that FFmpeg knows
                stream.codec_context.options = limit
    except (av.error.FFmpegError, OSError, ValueError) as error:
        with path.open("rb") as file:
            if file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(PLAYLISTS):
                raise MediaError(
                    f"{path} is a playlist, which names other files and addresses; none is followed. Give the video "
                    "itself."
                ) from None
        raise MediaError(
            f"{path} is no video or sound file that FFmpeg can read ({reason_of(error)}). "
            "If it should be one, it was cut off or damaged: copy it again."
        ) from error
    try:
        yield container
    except av.error.FFmpegError as error:
        raise MediaError(f"{path} is damaged: FFmpeg stopped with {reason_of(error)!r}. Copy it again.") from error
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
        coded = stream.codec_context
        if coded is None:
            raise MediaError(f"{path} cannot be used: FFmpeg does not know its video codec. Convert it to H.264.")
        if coded.width * coded.height > MAX_PIXELS:
            raise MediaError(
                f"{path} cannot be used: a picture is {coded.width}x{coded.height}. Convert or copy it again."
            )
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


def _audio_start(path: Path) -> float:
    """When the first sample of ``read_audio`` sounds: later than the track begins where priming is dropped."""
    with open_media(path) as container:
        stream = container.streams.audio[0]
        start = _seconds(stream.start_time, stream.time_base)
        with contextlib.suppress(av.error.FFmpegError):
            first = next(container.decode(stream), None)
            start = start if first is None or first.time is None else float(first.time)
    return start


def _seconds(ticks: int | None, time_base: Fraction | None) -> float:
    return float(ticks * time_base) if ticks is not None and time_base is not None else 0.0


def _streams(container: Any) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def reason_of(error: BaseException) -> str:
    """The last line of what ``error`` says."""
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[-1][:200] if text.strip() else type(error).__name__
