"""Read a video at 25 frames per second, on the time axis of its sound.

decord reads the frames of clips that fit into its memory, PyAV those of longer ones and of what decord gets wrong, and
an external ffmpeg where it is asked for (see ``anchor.media.ffmpeg``). PyAV also tells where picture and sound begin:
decord counts time from the first frame, so a picture that starts late would otherwise move against its speech. Output
frame ``i`` is what a viewer sees in the middle of its 40 ms, at ``(i + 0.5) / 25`` s after the first sample of the
sound: the middle is unbiased for every source rate, and rounded timestamps cannot tip it for a source at 25.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from anchor.errors import MediaError
from anchor.media.container import VideoInfo, as_displayed, open_media, probe, reason_of
from anchor.media.ffmpeg import check_ffmpeg_args, find_ffmpeg, read_with_ffmpeg
from anchor.timing import FPS

__all__ = [
    "SLACK_S",
    "DecoderName",
    "FrameReader",
    "VideoInfo",
    "as_displayed",
    "open_media",
    "probe",
    "read_video_25fps",
]

DecoderName = Literal["auto", "decord", "pyav", "ffmpeg"]

# decord decodes ahead of a slow reader without limit (4 GB within the first 1000 frames of a 720p clip whose faces
# were looked for meanwhile): it may have clips whose pictures, all of them, fit into this many bytes.
DECORD_BYTES = 384 * 2**20
SLACK_S = 0.001  # a picture that begins this shortly after the middle counts as shown: containers round to 1 ms


class FrameReader:
    """The pictures of a video at 25 frames per second, in order: iterate for ``(i, uint8 RGB (H, W, 3))``.

    ``i`` counts from the first sample of the sound (from the first picture where there is none). ``first_frame`` is
    the first ``i`` with a picture and ``num_frames`` the one after the last, both estimates until iterated where
    PyAV or ffmpeg reads. ``backend`` says who reads: "decord", "pyav" for what is too long for decord's memory (see
    ``DECORD_BYTES``) or what it cannot take (``reason`` says why it could not), or "ffmpeg", only where that was asked
    for: the external program with ``ffmpeg_args``, input options such as ("-c:v", "h264_mludec").
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo | None = None,
        threads: int = 0,
        backend: DecoderName = "auto",
        ffmpeg_args: Sequence[object] = (),
    ) -> None:
        self.path = Path(path)
        self.info = info or probe(self.path)
        self.threads = threads
        self.reason = ""
        self.ffmpeg_args = check_ffmpeg_args(ffmpeg_args)
        self._is_external = backend == "ffmpeg"
        if self._is_external:
            find_ffmpeg()  # a missing one is said here, not with the first picture
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
                    raise MediaError(f"{self.path}: decord cannot read it: {reason_of(error)}. Try PyAV.") from error
                self.reason = reason_of(error)
        if self._times_N2 is not None:
            self.first_frame = max(0, _first_slot(self._times_N2[0, 0]))
            self.num_frames = max(self.first_frame, _first_slot(self._times_N2[-1, 1]))
        else:
            begin = self.info.offset_s
            self.first_frame = max(0, _first_slot(begin))
            self.num_frames = max(self.first_frame, _first_slot(begin + self.info.duration_s))

    @property
    def backend(self) -> str:
        """Who reads: "decord", "pyav" or "ffmpeg"."""
        if self._is_external:
            return "ffmpeg"
        return "pyav" if self._times_N2 is None else "decord"

    def _open_decord(self) -> None:
        decord = _import_decord()
        self._decord = decord.VideoReader(str(self.path.absolute()), ctx=decord.cpu(0), num_threads=self.threads)
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
        with contextlib.closing(self._iterate()) as pairs:  # one who leaves early ends what decodes
            for number, picture in pairs:
                yield number, as_displayed(picture, self.info)

    def _iterate(self) -> Generator[tuple[int, np.ndarray], None, None]:
        if self._is_external:
            with contextlib.closing(read_with_ffmpeg(self.path, self.threads, self.ffmpeg_args)) as pictures:
                yield from self._resample(pictures)
            return
        if self._times_N2 is None:
            yield from self._resample(self._pictures_of_pyav())
            return
        done = self.first_frame
        try:
            for done, picture in self._iterate_decord():
                yield done, picture
                done += 1
        except _DecordFailedError as error:
            self.reason, self._times_N2, self._decord = str(error), None, None
            yield from (pair for pair in self._resample(self._pictures_of_pyav()) if pair[0] >= done)

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
            raise _DecordFailedError(reason_of(error)) from error

    def _pictures_of_pyav(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """Every picture with its time on the container's axis; a last packet that was cut off ends them."""
        with open_media(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = self.threads
            broken: av.error.FFmpegError | None = None
            for packet in container.demux(stream):
                if broken is not None and packet.size:
                    raise broken  # it was not the last one
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:  # PyAV 18 passes over what PyAV 17 raises
                    broken = error
                    continue
                for frame in frames:
                    yield (float(frame.time) if frame.time is not None else None), frame.to_ndarray(format="rgb24")

    def _resample(self, pictures: Iterable[tuple[float | None, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        """The picture that a viewer sees in the middle of every output frame, turned upright."""
        turns = self.info.rotation // 90
        axis = self.info.start_s - self.info.offset_s  # the container time that is 0 on the sound's axis
        slot, shown, end = self.first_frame, None, 0.0
        for time_s, picture in pictures:
            begin = (time_s if time_s is not None else end + axis) - axis
            while shown is not None and (slot + 0.5) / FPS + SLACK_S < begin:
                yield slot, shown
                slot += 1
            shown = np.ascontiguousarray(np.rot90(picture, turns))
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


def _first_slot(seconds: float) -> int:
    """The first output frame whose middle is not before ``seconds``."""
    return int(np.ceil((seconds - SLACK_S) * FPS - 0.5))
