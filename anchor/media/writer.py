"""Write an mp4: H.264 whose colours survive, AAC whose sound stays with the picture."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from anchor.errors import MediaError

__all__ = ["write_video"]

BT709 = 1  # the code of Rec. 709 in H.273, for primaries, transfer and matrix alike
AAC_CHUNK = 1024  # samples per AAC packet
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz, rates that players know
AAC_BIT_RATE = 128_000
LARGE_PIXELS = 4_000_000  # from here on the encoder looks 4 frames ahead, not 10: each costs 20 MB and more at 4K


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float = 25,
    audio: np.ndarray | None = None,
    sample_rate: int = 16_000,
    crf: int = 17,
    preset: str = "veryfast",
    threads: int = 0,
    metadata: Mapping[str, str] | None = None,
    is_intra: bool = False,
) -> int:
    """Write ``frames`` (uint8 RGB (H, W, 3)) and ``audio`` as an mp4; returns the number of frames.

    ``frames`` may be a generator: one frame is held at a time. Odd sides grow by one replicated line, because 4:2:0
    colour needs even ones. ``audio`` is float32 mono in [-1, 1], its first sample sounds with the first frame, and it
    is written whole, whatever the number of frames. ``threads`` is for the encoder, 0 lets it choose. ``metadata`` are
    the file's tags (title, comment, artist and others that mp4 knows). Where ``is_intra``, every frame is coded by
    itself, so that any of them is decoded alone. The file appears under its name when it is complete.

    Raises:
        MediaError: no frames, frames of several sizes or another type, or the file cannot be written.
    """
    path = Path(path)
    stream_of_frames = iter(frames)
    try:
        first = next(stream_of_frames)
    except StopIteration:
        raise MediaError(f"{path}: there are no frames to write. Give at least one.") from None
    _check_frame(path, first, first.shape, 0)
    if not fps > 0:
        raise MediaError(f"{path}: fps={fps} cannot be written. Give a positive frame rate.")
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial.mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata.update(metadata or {})
            options = {"crf": str(crf), "preset": preset} | ({"g": "1", "bf": "0"} if is_intra else {})
            count = _encode(container, path, first, stream_of_frames, fps, audio, sample_rate, options, threads)
        partial.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise MediaError(f"{path}: the video could not be written: {error}. Check the folder and the disk.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return count


def _encode(
    container: av.container.OutputContainer,
    path: Path,
    first: np.ndarray,
    rest: Iterator[np.ndarray],
    fps: float,
    audio: np.ndarray | None,
    sample_rate: int,
    options: dict[str, str],
    threads: int,
) -> int:
    rate = Fraction(fps).limit_denominator(1001)
    height, width = first.shape[:2]
    if width * height > LARGE_PIXELS:
        options["rc-lookahead"] = "4"
    video = container.add_stream("libx264", rate=rate, options=options)
    video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = video.codec_context
    context.thread_count = threads
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = ColorRange.MPEG
    sound = _AudioTrack(container, audio, sample_rate) if audio is not None else None
    count = 0
    for picture in _chain(first, rest):
        _check_frame(path, picture, first.shape, count)
        frame = _to_yuv(picture)
        frame.pts, frame.time_base = count, 1 / rate
        for packet in video.encode(frame):
            container.mux(packet)
        count += 1
        if sound is not None:
            sound.write_until(count / rate)
    for packet in video.encode(None):
        container.mux(packet)
    if sound is not None:
        sound.finish()
    return count


class _AudioTrack:
    """The AAC track of ``container``, written in step with the picture.

    The encoder starts 1024 samples early (its priming) and says so in the timestamps; the muxer turns that into an
    edit list, and players and PyAV drop the priming: sample 0 sounds at time 0.
    """

    def __init__(self, container: av.container.OutputContainer, audio: np.ndarray, sample_rate: int) -> None:
        if audio.ndim != 1:
            raise MediaError(f"audio has shape {audio.shape}, write_video needs one channel. Average the channels.")
        self._container, self._rate, self._cursor = container, sample_rate, 0
        self._samples = np.ascontiguousarray(np.clip(np.nan_to_num(audio), -1.0, 1.0), np.float32)
        stream_rate = sample_rate if sample_rate in AAC_RATES else 48_000
        self._stream = container.add_stream("aac", rate=stream_rate, layout="mono")
        self._stream.codec_context.bit_rate = AAC_BIT_RATE
        self._resampler = av.AudioResampler("fltp", "mono", stream_rate, frame_size=AAC_CHUNK)

    def write_until(self, seconds: Fraction | float) -> None:
        """Encode the samples that sound before ``seconds``."""
        stop = min(int(seconds * self._rate), len(self._samples))
        while self._cursor < stop:
            chunk = self._samples[None, self._cursor : min(self._cursor + AAC_CHUNK, stop)]
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._cursor, Fraction(1, self._rate)
            self._mux(self._resampler.resample(frame))
            self._cursor += chunk.shape[1]

    def finish(self) -> None:
        """Encode what is left and close the track."""
        self.write_until(len(self._samples) / self._rate + 1)
        if self._cursor:
            self._mux(self._resampler.resample(None))
        for packet in self._stream.encode(None):
            self._container.mux(packet)

    def _mux(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)


def _to_yuv(picture: np.ndarray) -> av.VideoFrame:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )


def _check_frame(path: Path, picture: np.ndarray, shape: tuple[int, ...], number: int) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise MediaError(
            f"{path}: frame {number} is {picture.dtype} of shape {picture.shape}, "
            "a video needs uint8 RGB of shape (height, width, 3)."
        )
    if picture.shape != shape:
        raise MediaError(
            f"{path}: frame {number} is {picture.shape[1]}x{picture.shape[0]}, the first was {shape[1]}x{shape[0]}. "
            "Give all frames one size."
        )


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
