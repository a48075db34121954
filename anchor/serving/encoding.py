"""Pictures and sound to packets, once per session, however many watch.

H.264 is Annex B with its parameter sets before every key frame, as WebRTC wants it; Opus and AAC are made from the same
sound, AAC only while somebody needs it. Time stamps are counted in ticks and samples: nothing is read off a wall clock.
"""

from __future__ import annotations

import functools
import io
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from anchor.serving.sound import LISTENING_RATE
from anchor.timing import FPS

__all__ = ["AAC_FRAME", "OPUS_FRAME", "AudioEncoder", "Kind", "Packet", "VideoEncoder", "video_template"]

Kind = str  # "h264", "opus" or "aac"
# One packet a tick, 40 ms: two of 20 ms that leave together are jitter to a browser, whose buffer then holds 85 ms
# instead of 30, and sound is heard that much later.
OPUS_FRAME = LISTENING_RATE // FPS
AAC_FRAME = 1024  # samples, fixed by the format
VIDEO_BASE, AUDIO_BASE = Fraction(1, FPS), Fraction(1, LISTENING_RATE)
KEY_EVERY = 2 * FPS  # pictures: who joins without asking for one waits 2 s at most
# Baseline without B frames: nothing waits for a later picture. Bits per pixel and frame as streams of one speaker need
# them; the cap on a picture's size keeps a key frame from holding up the line.
BITS_PER_PIXEL = 0.12
# Half the time of veryfast for 0.03 to 0.3 dB at this rate, on four real clips at 512 px; ultrafast loses up to 3.5 dB.
PRESET = "superfast"
LEVELS = ((921_600, "31"), (2_088_960, "40"), (8_912_896, "51"))  # pixels up to which a level of H.264 goes at 25 fps


class Packet(NamedTuple):
    """One encoded piece, as it goes to everybody."""

    kind: Kind
    data: bytes
    pts: int  # in pictures for h264, in samples of 48 kHz for sound
    duration: int
    is_key: bool


class VideoEncoder:
    """uint8 RGB pictures of one size to H.264."""

    def __init__(self, width: int, height: int) -> None:
        self._context = _open(width, height)
        self._wants_key = True

    def want_key(self) -> None:
        """Make the next picture a key frame: somebody joined, or lost one."""
        self._wants_key = True

    def encode(self, picture_HWC: np.ndarray, tick: int) -> list[Packet]:
        """One picture in, one packet out (``zerolatency`` holds nothing back)."""
        planes = np.asarray(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2YUV_I420), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = tick, VIDEO_BASE
        frame.pict_type = PictureType.I if self._wants_key else PictureType.NONE
        self._wants_key = False
        return [Packet("h264", bytes(packet), tick, 1, packet.is_keyframe) for packet in self._context.encode(frame)]


class AudioEncoder:
    """float32 sound of 48 kHz to ``kind``: ``"opus"`` or ``"aac"``."""

    def __init__(self, kind: Kind, first_sample: int = 0) -> None:
        context = av.CodecContext.create("libopus" if kind == "opus" else "aac", "w")
        context.sample_rate, context.time_base = LISTENING_RATE, AUDIO_BASE
        context.layout, context.format = "mono", "s16" if kind == "opus" else "fltp"
        context.bit_rate = 64_000 if kind == "opus" else 96_000
        if kind == "opus":
            context.options = {"application": "lowdelay", "frame_duration": "40"}  # looks 2.5 ms ahead, others 6.5
        context.open()
        self._context, self.kind = context, kind
        self._size = OPUS_FRAME if kind == "opus" else AAC_FRAME
        self._rest = np.zeros(0, np.float32)
        self._next = first_sample

    @property
    def position(self) -> int:
        """The sample that :meth:`encode` expects next."""
        return self._next + len(self._rest)

    def encode(self, samples: np.ndarray) -> list[Packet]:
        """Any number of samples; packets of 40 ms (Opus) or 1024 samples (AAC) as they are complete."""
        self._rest = np.concatenate([self._rest, samples])
        packets = []
        while len(self._rest) >= self._size:
            piece, self._rest = self._rest[: self._size], self._rest[self._size :]
            if self.kind == "opus":
                whole = np.clip(np.rint(piece * 32767), -32768, 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(whole[None], "s16", "mono")
            else:
                frame = av.AudioFrame.from_ndarray(piece[None], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = LISTENING_RATE, AUDIO_BASE, self._next
            for packet in self._context.encode(frame):
                assert packet.pts is not None
                packets.append(Packet(self.kind, bytes(packet), packet.pts, self._size, True))
            self._next += self._size
        return packets


@functools.lru_cache(maxsize=16)
def video_template(width: int, height: int) -> bytes:
    """A raw H.264 stream of one picture: containers take size and parameter sets from it."""
    encoder = VideoEncoder(width, height)
    return b"".join(packet.data for packet in encoder.encode(np.zeros((height, width, 3), np.uint8), 0))


def open_template(width: int, height: int) -> av.container.InputContainer:
    """:func:`video_template`, opened; its stream may be given to ``add_stream_from_template``."""
    return av.open(io.BytesIO(video_template(width, height)), mode="r", format="h264")


def _open(width: int, height: int) -> av.VideoCodecContext:
    context = av.VideoCodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.framerate, context.time_base = Fraction(FPS), VIDEO_BASE
    context.bit_rate = rate = round(BITS_PER_PIXEL * width * height * FPS)
    level = next((name for pixels, name in LEVELS if width * height <= pixels), LEVELS[-1][1])
    context.profile = "Baseline"
    context.thread_count = 1
    context.options = {
        "preset": PRESET, "tune": "zerolatency", "g": str(KEY_EVERY), "level": level,
        "maxrate": str(2 * rate), "bufsize": str(rate), "x264-params": "sliced-threads=0:repeat-headers=1",
    }  # fmt: skip
    context.open()
    return context
