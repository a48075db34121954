"""WebSockets: who may open one, how it ends, and the JSON in its messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from anchor.errors import AnchorError, ConfigError
from anchor.serving.access import Access, RateError
from anchor.serving.admission import BusyError
from anchor.serving.live import Live
from anchor.serving.station import Station, UnknownError

__all__ = ["first_of", "parse_message", "serve_socket"]


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


def parse_message(text: str) -> dict[str, Any]:
    """The JSON object of a text message; raises a ``ConfigError`` where it is none."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise ConfigError('Text messages are JSON: {"rate": 16000} or {"end": true}.')
    return about


async def first_of(*coroutines: Any) -> None:
    """Until one of them ends; the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while running := [task for task in tasks if not task.done()]:
            for task in running:  # more than once: before Python 3.12 wait_for may swallow a cancellation
                task.cancel()
            await asyncio.wait(running, timeout=0.5)
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
