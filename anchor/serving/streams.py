"""What flows out over WebSockets: events, and the film."""

from __future__ import annotations

import asyncio
import contextlib
import time

from fastapi import WebSocket

from anchor.serving.containers import FragmentedMp4
from anchor.serving.encoding import Kind
from anchor.serving.live import EventLine, Live
from anchor.serving.sockets import first_of, parse_message

__all__ = ["send_film", "tell_events"]

MOST_REPORT = 1024  # characters of what a page tells of itself
MOST_READY = 4  # pieces of the film, of 0.1 s, that wait for the line; beyond that packets wait, and are dropped


async def tell_events(socket: WebSocket, live: Live) -> None:
    """Events as they happen, and the state every second.

    Whatever the client sends says that it lives; JSON tells what it sees, as ``{"rate": 25, "skew_ms": 12}``.

    Raises:
        SlowError: the client does not read them.
    """
    line = EventLine()
    live.listeners.add(line)

    async def tell() -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await socket.send_json(await asyncio.wait_for(line.get(), 1.0))
                continue
            await socket.send_json({"event": "state", **live.show()})

    async def listen() -> None:
        while True:
            text = await socket.receive_text()
            live.touch()
            if text.startswith("{") and len(text) <= MOST_REPORT:
                live.take_report(parse_message(text))

    try:
        await first_of(tell(), listen(), line.overflow())
    finally:
        live.listeners.discard(line)


async def send_film(socket: WebSocket, live: Live) -> None:
    """Fragmented MP4 in binary messages, for who has no UDP.

    As long as they are taken they keep the session open. Who is slow misses pictures up to the next key frame.
    """
    painter = live.session
    film = FragmentedMp4(painter.width, painter.height)
    viewer = painter.hub.join(["h264", "aac"])
    viewer.heard = time.monotonic()
    ready: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_READY)

    async def gather(kind: Kind) -> None:
        while (packet := await viewer.get(kind)) is not None:
            for piece in film.add(packet):
                await ready.put(piece)
        await ready.put(None)

    async def send() -> None:
        while (piece := await ready.get()) is not None:
            await socket.send_bytes(piece)  # waits while the line is full
            viewer.heard = time.monotonic()

    async def listen() -> None:
        while True:
            await socket.receive_text()

    try:
        await first_of(gather("h264"), gather("aac"), send(), listen())
    finally:
        viewer.close()
        for _ in film.close():
            pass
