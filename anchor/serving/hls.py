"""HLS of a session: a playlist and pieces of MP4 in memory, under an address that cannot be guessed.

Pieces begin at key frames and last 2 to 4 s; what is encoded already is cut, nothing is encoded again. Who has the
address may watch, as a player that sends no token must; it ends with the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from anchor.serving.containers import FragmentedMp4
from anchor.serving.encoding import KEY_EVERY, Packet
from anchor.serving.feed import KINDS, feed
from anchor.serving.live import Live
from anchor.serving.station import UnknownError
from anchor.timing import FPS

__all__ = ["HLS_TYPE", "Broadcast", "Broadcasts"]

HLS_TYPE = "application/vnd.apple.mpegurl"
OPTIONS = {"movflags": "empty_moov+default_base_moof+frag_keyframe"}
KEPT = 6  # pieces in the playlist, 12 s and more; as many again are kept for who reads an older one
LONGEST_S = 2 * KEY_EVERY // FPS
UNWATCHED_S = 30.0  # without a request it ends
FIRST_S = 10.0  # for the first piece


class _Piece(NamedTuple):
    number: int
    seconds: float
    data: bytes


class Broadcast:
    """One session's pieces, newest last."""

    def __init__(self, live: Live, metadata: dict[str, str]) -> None:
        self.live, self.secret = live, secrets.token_urlsafe(24)
        self._film = FragmentedMp4(live.session.width, live.session.height, OPTIONS, metadata)
        self._pieces: deque[_Piece] = deque(maxlen=2 * KEPT)
        self._head = b""  # ftyp and moov
        self._open: list[bytes] = []  # fragments of the piece that grows
        self._open_ticks = 0
        self._keys: deque[int] = deque()  # ticks of key frames whose fragments are not out yet
        self._next = 0
        self._has_first = asyncio.Event()
        self.asked = time.monotonic()

    async def run(self) -> None:
        """Cut until the session ends, or nobody asks any more."""
        feeding = asyncio.ensure_future(feed(self.live.session.hub.join(KINDS), self._take))
        try:
            while not feeding.done() and time.monotonic() - self.asked < UNWATCHED_S:
                await asyncio.wait({feeding}, timeout=1.0)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def playlist(self, prefix: str = "") -> str:
        """The newest pieces; ``prefix`` stands before every name. Waits for the first one.

        Raises:
            UnknownError: none came in time.
        """
        self._touch()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._has_first.wait(), FIRST_S)
        shown = list(self._pieces)[-KEPT:]
        if not shown:
            raise UnknownError("This session has shown no picture yet. Try again.")
        lines = [
            "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{LONGEST_S}",
            f"#EXT-X-MEDIA-SEQUENCE:{shown[0].number}", "#EXT-X-INDEPENDENT-SEGMENTS",
            f'#EXT-X-MAP:URI="{prefix}init.mp4"',
        ]  # fmt: skip
        for piece in shown:
            lines += [f"#EXTINF:{piece.seconds:.3f},", f"{prefix}{piece.number}.m4s"]
        return "\n".join(lines) + "\n"

    def read(self, name: str) -> bytes:
        """The piece called ``name``.

        Raises:
            UnknownError: there is none, or it is too old.
        """
        self._touch()
        if name == "init.mp4" and self._head:
            return self._head
        for piece in self._pieces:
            if name == f"{piece.number}.m4s":
                return piece.data
        raise UnknownError("There is no such piece; it may be too old.")

    def _touch(self) -> None:
        self.asked = time.monotonic()
        self.live.touch()

    async def _take(self, packet: Packet) -> None:
        if packet.kind == "h264" and packet.is_key:
            self._keys.append(packet.pts)
        for written in self._film.add(packet):
            for kind, box in _boxes(written):
                if kind in (b"ftyp", b"moov"):
                    self._head += box
                elif kind == b"moof":
                    self._cut()
                    self._open.append(box)
                    self._open_ticks += self._keys[1] - self._keys[0]
                    self._keys.popleft()
                else:
                    self._open.append(box)

    def _cut(self) -> None:
        """Close the piece that grows, where it is long enough: a key frame that a viewer asked for makes none."""
        if self._open_ticks < KEY_EVERY:
            return
        self._pieces.append(_Piece(self._next, self._open_ticks / FPS, b"".join(self._open)))
        self._next += 1
        self._open, self._open_ticks = [], 0
        self._has_first.set()


class Broadcasts:
    """The broadcasts of a station, by session and by secret."""

    def __init__(self) -> None:
        self._by_secret: dict[str, Broadcast] = {}
        self._by_session: dict[str, Broadcast] = {}

    def begin(self, live: Live, metadata: dict[str, str]) -> Broadcast:
        """The broadcast of a session; it begins when it is asked for, and one session has one."""
        found = self._by_session.get(live.id)
        if found is not None:
            return found
        broadcast = Broadcast(live, metadata)
        self._by_session[live.id] = self._by_secret[broadcast.secret] = broadcast
        task = asyncio.get_running_loop().create_task(broadcast.run())

        def forget(done: asyncio.Task[None]) -> None:
            self._by_session.pop(live.id, None)
            self._by_secret.pop(broadcast.secret, None)

        task.add_done_callback(forget)
        return broadcast

    def find(self, secret: str) -> Broadcast:
        """The broadcast of an address.

        Raises:
            UnknownError: there is none.
        """
        found = self._by_secret.get(secret)
        if found is None:
            raise UnknownError("There is no such broadcast. It may have ended.")
        return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``(kind, whole box)`` of every box in ``data``, as this process wrote it."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place : place + size]
        place += size
