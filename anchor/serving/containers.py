"""Packets into containers: fragmented MP4 for a WebSocket or a file, HLS, RTMP. Nothing is encoded twice."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import av

from anchor.errors import MediaError
from anchor.serving.encoding import AUDIO_BASE, VIDEO_BASE, Packet, open_template
from anchor.serving.sound import LISTENING_RATE

__all__ = ["FMP4_TYPE", "FragmentedMp4", "Muxer"]

FMP4_TYPE = 'video/mp4; codecs="avc1.42c01f,mp4a.40.2"'  # what the browser's MediaSource is told
# A fragment for every picture stalls Chromium after ten of them; one of 100 ms does not.
FMP4_OPTIONS = {"movflags": "empty_moov+default_base_moof", "frag_duration": "100000"}


class Muxer:
    """``h264`` and ``aac`` packets to ``target``: a path, an address, or a writable file.

    Time stamps begin at 0 with the first key frame. Sound before it is left out.

    Raises:
        MediaError: the target cannot be opened or written; says why.
    """

    def __init__(
        self, target: Any, format: str, width: int, height: int, options: dict[str, str] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._target = target
        self._template = open_template(width, height)
        with _said(target):
            self._container = av.open(target, "w", format=format, options=options or {})
            self._container.metadata.update(metadata or {})
            self._video = self._container.add_stream_from_template(self._template.streams.video[0])
            self._audio = self._container.add_stream("aac", rate=LISTENING_RATE, layout="mono")
        self._first_tick: int | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def begin(self) -> None:
        """Connect to the target and write the head; :meth:`add` does it otherwise."""
        with self._lock, _said(self._target):
            self._container.start_encoding()

    def add(self, packet: Packet) -> None:
        """Write one packet of either kind."""
        with self._lock, _said(self._target):
            if self._is_closed:
                return
            if packet.kind == "h264" and self._first_tick is None and packet.is_key:
                self._first_tick = packet.pts
            if self._first_tick is None:
                return
            out = av.Packet(packet.data)
            if packet.kind == "h264":
                out.stream, out.time_base = self._video, VIDEO_BASE
                place = packet.pts - self._first_tick
            else:
                out.stream, out.time_base = self._audio, AUDIO_BASE
                place = packet.pts - self._first_tick * LISTENING_RATE * VIDEO_BASE.numerator // VIDEO_BASE.denominator
                if place < 0:
                    return
            out.pts = out.dts = place
            out.duration, out.is_keyframe = packet.duration, packet.is_key
            self._container.mux(out)

    def close(self) -> None:
        """Complete what was written."""
        with self._lock, _said(self._target):
            if not self._is_closed:
                self._is_closed = True
                try:
                    self._container.close()
                finally:
                    self._template.close()


class FragmentedMp4:
    """Packets to pieces of a stream that a browser's MediaSource plays as they come.

    ``options`` say where a fragment ends, by default after 100 ms; ``metadata`` stands in the first piece.
    """

    def __init__(
        self, width: int, height: int, options: dict[str, str] | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        self._pieces = _Pieces()
        self._muxer = Muxer(self._pieces, "mp4", width, height, options or FMP4_OPTIONS, metadata)

    def add(self, packet: Packet) -> Iterator[bytes]:
        """What is ready to be sent after ``packet``: whole boxes, usually none."""
        self._muxer.add(packet)
        yield from self._pieces.take()

    def close(self) -> Iterator[bytes]:
        """The rest."""
        self._muxer.close()
        yield from self._pieces.take()


class _Pieces(io.RawIOBase):
    """A file that cannot be sought in, whose bytes are taken away as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> Iterator[bytes]:
        pieces, self._written = self._written, []
        if pieces:
            yield b"".join(pieces)


class _said:  # noqa: N801
    """FFmpeg's errors as a sentence of ours."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (av.FFmpegError, OSError)):
            name = self._target if isinstance(self._target, str) else "the stream"
            reason = getattr(error, "strerror", None) or str(error)
            raise MediaError(f"{name} cannot be written: {reason}.") from None
