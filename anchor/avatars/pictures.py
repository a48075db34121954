"""The pictures of a clip by number, forwards, backwards and from anywhere: each is coded by itself.

Why H.264 of key frames alone and no JPEGs: see docs/avatars.md. The decoder is fed by hand, for a seek of the
container would cost more than the picture.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from anchor.errors import AvatarError
from anchor.media.container import open_media

__all__ = ["CACHE_BYTES", "ClipPictures"]

CACHE_BYTES = 48 * 2**20  # of decoded pictures kept, 4:2:0: 80 of 512 x 768, 15 of 1080p


_of_thread = threading.local()


def _to_rgb() -> VideoReformatter:
    """A converter of the calling thread's own: the one that a frame keeps crashes when two threads share the frame."""
    if not hasattr(_of_thread, "converter"):
        _of_thread.converter = VideoReformatter()
    return _of_thread.converter


class ClipPictures:
    """The pictures of one video of key frames. Several threads may ask; one decodes at a time.

    ``cache_bytes`` bounds what is kept decoded, the most recent first; the compressed pictures stay in the file.

    Raises:
        AvatarError: it is not the video that it should be.
    """

    def __init__(self, path: Path, num_frames: int, size: tuple[int, int], cache_bytes: int = CACHE_BYTES) -> None:
        self.path, self.size = Path(path), size
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, av.VideoFrame] = OrderedDict()
        self._max_kept = max(1, cache_bytes // (size[0] * size[1] * 3 // 2))
        with open_media(self.path) as container:
            video = container.streams.video[0] if container.streams.video else None
            if video is None or video.codec_context is None or video.codec_context.name != "h264":
                raise AvatarError(f"{self.path} is no H.264 video. Build the avatar again.")
            if (video.codec_context.width, video.codec_context.height) != size:
                found = f"{video.codec_context.width}x{video.codec_context.height}"
                raise AvatarError(f"{self.path} shows {found}, the avatar has {size[0]}x{size[1]}. Build it again.")
            packets = [packet for packet in container.demux(video) if packet.size]
            self._places = [(packet.pos, packet.size) for packet in packets]
            if len(packets) != num_frames or not all(
                packet.is_keyframe and packet.pos is not None for packet in packets
            ):
                raise AvatarError(
                    f"{self.path} holds {len(packets)} pictures, {num_frames} key frames are needed. Build it again."
                )
            self._extradata = video.codec_context.extradata
        self._decoder = self._open_decoder()
        self._file = os.open(self.path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> np.ndarray:
        """Picture ``number``, uint8 RGB (H, W, 3), the caller's own."""
        return _to_rgb().reformat(self.frame(number), format="rgb24").to_ndarray()

    def frame(self, number: int) -> av.VideoFrame:
        """Picture ``number`` as it is coded, yuv420p, shared and not to be changed: what an encoder takes as it is.

        Raises:
            AvatarError: the file no longer holds it.
        """
        with self._lock:
            frame = self._kept.pop(number, None)
            if frame is None:
                frame = self._decode(number)
            self._kept[number] = frame
            if len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)
            return frame

    def close(self) -> None:
        """Let go of the file; pictures cannot be asked for any more."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._kept.clear()

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)

    def _open_decoder(self) -> av.VideoCodecContext:
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = self._extradata
        decoder.thread_count = 1  # more threads would hold pictures back
        return decoder  # type: ignore[return-value]

    def _decode(self, number: int) -> av.VideoFrame:
        place, size = self._places[number]
        data = os.pread(self._file, size, place)
        try:
            frames = self._decoder.decode(av.Packet(data))
            if not frames:  # a decoder that waits for more gets none
                frames = self._decoder.decode(None)
                self._decoder = self._open_decoder()
        except av.error.FFmpegError as error:
            self._decoder = self._open_decoder()
            raise AvatarError(f"{self.path}: picture {number} cannot be decoded ({error}). Build it again.") from None
        if len(frames) != 1:
            raise AvatarError(f"{self.path}: picture {number} is gone. Leave the avatar alone while it is used.")
        return frames[0]
