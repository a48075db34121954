"""What flows over WebSockets: events, the film, and speech that comes in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from anchor.errors import AnchorError, ConfigError
from anchor.serving.access import Access, RateError
from anchor.serving.containers import FragmentedMp4
from anchor.serving.live import Live
from anchor.serving.sound import SoundMaker
from anchor.serving.station import BusyError, Station, UnknownError

__all__ = ["hear", "parse_message", "read_rate", "read_sound", "send_film", "serve_socket", "tell_events"]

MOST_MESSAGE = 64 * 1024  # bytes of one piece of streamed speech, 2 s of 16 kHz
MOST_REPORT = 1024  # characters of what a page tells of itself
STREAM_AHEAD_S = 10.0  # of streamed speech that may wait: more is refused


async def serve_socket(
    socket: WebSocket, station: Station, access: Access, id: str, scope: str,
    serve: Callable[[WebSocket, Live], Any],
) -> None:  # fmt: skip
    """A WebSocket's life; what the client did wrong ends it with the sentence."""
    live = await _accept(socket, station, access, id, scope)
    if live is None:
        return
    try:
        await serve(socket, live)
    except BusyError as error:
        await socket.close(1013, str(error)[:120])
    except AnchorError as error:
        reason = str(error).encode()[:120].decode(errors="ignore")  # a close frame has room for 123 bytes
        await socket.close(4400, reason)
    except (WebSocketDisconnect, RuntimeError):
        return
    else:
        with contextlib.suppress(RuntimeError):
            await socket.close(1000)


async def tell_events(socket: WebSocket, live: Live) -> None:
    """Events as they happen, and the state every second.

    Whatever the client sends says that it lives; JSON tells what it sees, as ``{"rate": 25, "skew_ms": 12}``.
    """
    queue: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    live.listeners.add(queue)

    async def tell() -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await socket.send_json(await asyncio.wait_for(queue.get(), 1.0))
                continue
            await socket.send_json({"event": "state", **live.show()})

    async def listen() -> None:
        while True:
            text = await socket.receive_text()
            live.touch()
            if text.startswith("{") and len(text) <= MOST_REPORT:
                live.take_report(parse_message(text))

    try:
        await _first_of(tell(), listen())
    finally:
        live.listeners.discard(queue)


async def send_film(socket: WebSocket, live: Live) -> None:
    """Fragmented MP4 in binary messages, for who has no UDP."""
    painter = live.session
    film = FragmentedMp4(painter.width, painter.height)
    viewer = painter.hub.join(["h264", "aac"])
    viewer.heard = math.inf
    ready: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def gather(kind: str) -> None:
        while (packet := await viewer.get(kind)) is not None:
            for piece in film.add(packet):
                ready.put_nowait(piece)
        ready.put_nowait(None)

    async def send() -> None:
        while (piece := await ready.get()) is not None:
            await socket.send_bytes(piece)

    async def listen() -> None:
        while True:
            await socket.receive_text()

    try:
        await _first_of(gather("h264"), gather("aac"), send(), listen())
    finally:
        viewer.close()
        for _ in film.close():
            pass


async def hear(station: Station, socket: WebSocket, live: Live) -> None:
    """Speech as int16 PCM in binary messages, after one of JSON: ``{"rate": 16000}``; ``{"end": true}`` ends it."""
    timeline = live.session.timeline
    maker, epoch = None, timeline.epoch
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        live.touch()
        if (text := message.get("text")) is not None:
            about = parse_message(text)
            if about.get("end"):
                if maker is not None:
                    timeline.say(maker.add(np.zeros(0, np.float32), is_last=True), epoch, is_last=True)
                maker = None
                continue
            maker, epoch = SoundMaker(read_rate(about)), timeline.epoch
            station.admit(live)
            continue
        sound_L4 = read_sound(message, maker)
        assert maker is not None
        if timeline.waiting_s > STREAM_AHEAD_S:
            raise ConfigError(f"More than {STREAM_AHEAD_S:.0f} s of speech are waiting. Send it as it is spoken.")
        if not timeline.say(sound_L4, epoch, is_last=False):
            await socket.send_json({"event": "interrupted", "epoch": timeline.epoch})
            maker = None


def parse_message(text: str) -> dict[str, Any]:
    """The JSON object of a text message; raises a ``ConfigError`` where it is none."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise ConfigError('Text messages are JSON: {"rate": 16000} or {"end": true}.')
    return about


def read_sound(message: Mapping[str, Any], maker: SoundMaker | None) -> np.ndarray:
    """The int16 samples of a binary message as float32 (L, 4); raises a ``ConfigError`` where they are none."""
    data = message.get("bytes") or b""
    if maker is None:
        raise ConfigError('Say the rate first: {"rate": 16000}.')
    if len(data) > MOST_MESSAGE or len(data) % 2:
        raise ConfigError(f"A piece of speech has {len(data)} bytes; send int16 in pieces of up to {MOST_MESSAGE}.")
    return maker.add(np.frombuffer(data, "<i2").astype(np.float32) / 32768)


def read_rate(about: dict[str, Any]) -> int:
    """The sample rate in a message; raises a ``ConfigError`` where there is none."""
    rate = about.get("rate")
    if isinstance(rate, bool) or not isinstance(rate, int):
        raise ConfigError(f"rate={rate!r} is no whole number of samples a second.")
    return rate


async def _first_of(*coroutines: Any) -> None:
    """Until one of them ends; the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _accept(socket: WebSocket, station: Station, access: Access, id: str, scope: str) -> Live | None:
    """The session of a WebSocket, or None after it was refused. The token comes as a protocol or in the query."""
    offered = [word.strip() for word in socket.headers.get("sec-websocket-protocol", "").split(",") if word.strip()]
    token = socket.query_params.get("token", "") or next(
        (word[6:] for word in offered if word.startswith("token.")), ""
    )
    key = access.find(token)
    if key is None or not key.may(scope) or not _is_same_origin(socket):
        await socket.close(4403 if key is not None else 4401)
        return None
    try:
        key.spend()
        live = station.find(id, key.name)
    except (RateError, UnknownError):
        await socket.close(4404)
        return None
    await socket.accept(subprotocol=offered[0] if offered else None)
    return live


def _is_same_origin(socket: WebSocket) -> bool:
    """Browsers let any page open a WebSocket: only ours may."""
    origin = socket.headers.get("origin")
    return origin is None or origin.partition("://")[2] == socket.headers.get("host", "")
