"""The routes: REST for what is asked once, WebSockets for what flows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from anchor.errors import AnchorError, ConfigError
from anchor.serving.access import Access, Key, RateError
from anchor.serving.containers import FMP4_TYPE, FragmentedMp4
from anchor.serving.director import MOST_TEXT
from anchor.serving.metrics import prometheus_text
from anchor.serving.sound import SoundMaker
from anchor.serving.station import RETRY_S, BusyError, Live, Station, UnknownError
from anchor.serving.webrtc import MOST_SDP, OfferError, answer_offer
from anchor.speech.text import clean_text

__all__ = ["make_app"]

MOST_BODY = 256 * 1024  # bytes of a request
MOST_MESSAGE = 64 * 1024  # bytes of one piece of streamed speech, 2 s of 16 kHz
STREAM_AHEAD_S = 10.0  # of streamed speech that may wait: more is refused


class _Open(BaseModel):
    avatar: str = Field("", max_length=64)


class _Offer(BaseModel):
    sdp: str = Field(max_length=MOST_SDP)


class _Say(BaseModel):
    text: str = Field(max_length=MOST_TEXT)
    interrupt: bool = False


class _Name(BaseModel):
    name: str = Field(max_length=64)


def make_app(station: Station, access: Access, on_start: Callable[[], Any] | None = None) -> FastAPI:
    """The application of a station; who may do what is ``access``'s."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if on_start is not None:
            await on_start()
        yield
        await station.leave()

    app = FastAPI(title="Anchor", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    _add_limits(app)
    app.state.station, app.state.access = station, access
    view, speak, admin = (Depends(_Needs(access, scope)) for scope in ("view", "speak", "admin"))

    @app.get("/")
    async def page() -> Response:
        return _page("index.html", "text/html; charset=utf-8")

    @app.get("/page.js")
    async def script() -> Response:
        return _page("page.js", "text/javascript; charset=utf-8")

    @app.get("/page.css")
    async def style() -> Response:
        return _page("page.css", "text/css; charset=utf-8")

    @app.get("/healthz")
    async def health() -> Response:
        is_well = station.drawer.is_alive and not station.is_leaving
        state = "leaving" if station.is_leaving else "ok" if is_well else "idle pictures only"
        return JSONResponse({"state": state}, 200 if is_well else 503)

    @app.get("/metrics", dependencies=[admin])
    async def metrics() -> Response:
        return Response(prometheus_text(station), media_type="text/plain; version=0.0.4")

    @app.get("/api/avatars")
    async def avatars(key: Key = view) -> list[dict[str, Any]]:
        return [
            {
                "name": avatar.name, "width": avatar.stage.width, "height": avatar.stage.height,
                "actions": [action.name for action in avatar.actions],
            }
            for avatar in station.avatars.values()
        ]  # fmt: skip

    @app.post("/api/sessions", status_code=201)
    async def open_session(body: _Open, key: Key = speak) -> dict[str, Any]:
        live = station.open(body.avatar, key.name)
        return {"id": live.id, "avatar": live.session.avatar, "stream_type": FMP4_TYPE}

    @app.delete("/api/sessions/{id}", status_code=204)
    async def close_session(id: str, key: Key = speak) -> None:
        await station.close(station.find(id, key.name))

    @app.get("/api/sessions/{id}")
    async def show_session(id: str, key: Key = view) -> dict[str, Any]:
        return _state(station.find(id, key.name))

    @app.post("/api/sessions/{id}/offer")
    async def offer(id: str, body: _Offer, key: Key = view) -> dict[str, Any]:
        live = station.find(id, key.name)
        peer, answer = await answer_offer(live.session.hub, body.sdp)
        live.closers.add(peer.close)
        return {"type": "answer", "sdp": answer}

    @app.post("/api/sessions/{id}/say", status_code=202)
    async def say(id: str, body: _Say, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        clean_text(body.text)  # refused before it interrupts anything
        if body.interrupt:
            await live.director.interrupt()
        return {"utterance": station.say(live, body.text), "epoch": live.session.timeline.epoch}

    @app.post("/api/sessions/{id}/interrupt")
    async def interrupt(id: str, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        dropped_s = await live.director.interrupt()
        return {"epoch": live.session.timeline.epoch, "dropped_s": round(dropped_s, 3)}

    @app.post("/api/sessions/{id}/act")
    async def act(id: str, body: _Name, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        if not live.session.act(body.name):
            raise UnknownError(f"This avatar has no action {body.name!r}.")
        return {"action": body.name}

    @app.post("/api/sessions/{id}/avatar")
    async def change(id: str, body: _Name, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        station.change(live, body.name)
        return {"avatar": live.session.avatar}

    @app.websocket("/api/sessions/{id}/events")
    async def events(socket: WebSocket, id: str) -> None:
        await _serve(socket, station, access, id, "view", _tell_events)

    @app.websocket("/api/sessions/{id}/stream")
    async def stream(socket: WebSocket, id: str) -> None:
        await _serve(socket, station, access, id, "view", _send_film)

    @app.websocket("/api/sessions/{id}/speech")
    async def speech(socket: WebSocket, id: str) -> None:
        await _serve(socket, station, access, id, "speak", _hear)

    return app


def _state(live: Live) -> dict[str, Any]:
    session, stats = live.session, live.session.stats
    return {
        "avatar": session.avatar, "tick": session.tick, "epoch": session.timeline.epoch,
        "is_speaking": session.timeline.is_speaking or live.director.is_busy, "viewers": session.hub.num_viewers,
        "mouths": stats.spoken, "late": stats.late, "skipped": stats.skipped, "starved": session.timeline.num_starved,
        "waiting_s": round(session.timeline.waiting_s, 3),
        "batch_sizes": {str(size): count for size, count in sorted(stats.batch_sizes.items())},
    }  # fmt: skip


async def _serve(
    socket: WebSocket, station: Station, access: Access, id: str, scope: str,
    serve: Callable[[WebSocket, Live], Any],
) -> None:  # fmt: skip
    """A WebSocket's life; what the client did wrong ends it with the sentence."""
    live = await _accept(socket, station, access, id, scope)
    if live is None:
        return
    try:
        await serve(socket, live)
    except AnchorError as error:
        await socket.close(4400, str(error)[:120])
    except (WebSocketDisconnect, RuntimeError):
        return
    else:
        with contextlib.suppress(RuntimeError):
            await socket.close(1000)


async def _tell_events(socket: WebSocket, live: Live) -> None:
    """Events as they happen, and the state every second; whatever the client sends says that it lives."""
    queue: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    live.listeners.add(queue)

    async def tell() -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await socket.send_json(await asyncio.wait_for(queue.get(), 1.0))
                continue
            await socket.send_json({"event": "state", **_state(live)})

    async def listen() -> None:
        while True:
            await socket.receive_text()
            live.touch()

    try:
        await _first_of(tell(), listen())
    finally:
        live.listeners.discard(queue)


async def _send_film(socket: WebSocket, live: Live) -> None:
    """Fragmented MP4 in binary messages, for who has no UDP."""
    painter = live.session
    film = FragmentedMp4(painter.width, painter.height)
    viewer = painter.hub.join(["h264", "aac"])
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


async def _hear(socket: WebSocket, live: Live) -> None:
    """Speech as int16 PCM in binary messages, after one of JSON: ``{"rate": 16000}``; ``{"end": true}`` ends it."""
    timeline = live.session.timeline
    maker, epoch = None, timeline.epoch
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        live.touch()
        if (text := message.get("text")) is not None:
            about = _parse(text)
            if about.get("end"):
                if maker is not None:
                    timeline.say(maker.add(np.zeros(0, np.float32), is_last=True), epoch, is_last=True)
                maker = None
                continue
            maker, epoch = SoundMaker(_rate(about)), timeline.epoch
            continue
        data = message.get("bytes") or b""
        if maker is None:
            raise ConfigError('Say the rate first: {"rate": 16000}.')
        if len(data) > MOST_MESSAGE or len(data) % 2:
            raise ConfigError(f"A piece of speech has {len(data)} bytes; send int16 in pieces of up to {MOST_MESSAGE}.")
        if timeline.waiting_s > STREAM_AHEAD_S:
            raise ConfigError(f"More than {STREAM_AHEAD_S:.0f} s of speech are waiting. Send it as it is spoken.")
        sound_L4 = maker.add(np.frombuffer(data, "<i2").astype(np.float32) / 32768)
        if not timeline.say(sound_L4, epoch, is_last=False):
            await socket.send_json({"event": "interrupted", "epoch": timeline.epoch})
            maker = None


def _parse(text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise ConfigError('Text messages are JSON: {"rate": 16000} or {"end": true}.')
    return about


def _rate(about: dict[str, Any]) -> int:
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


class _Needs:
    """A dependency: the key of a request, if it is good for a scope."""

    def __init__(self, access: Access, scope: str) -> None:
        self._access, self._scope = access, scope

    async def __call__(self, request: Request) -> Key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = self._access.find(token.strip() if scheme.lower() == "bearer" else "")
        if key is None:
            raise HTTPException(401, "A token is needed: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})
        if not key.may(self._scope):
            raise HTTPException(403, f"This token may not {self._scope}.")
        key.spend()
        return key


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, headers: Callable[[Exception], dict[str, str]] = lambda error: {}) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return JSONResponse({"error": str(error)}, status, headers(error))

        return handle

    app.add_exception_handler(BusyError, answer(503, lambda error: {"Retry-After": str(RETRY_S)}))
    app.add_exception_handler(RateError, answer(429, lambda error: {"Retry-After": str(int(error.retry_s) + 1)}))  # type: ignore[attr-defined]
    app.add_exception_handler(UnknownError, answer(404))
    app.add_exception_handler(OfferError, answer(400))
    app.add_exception_handler(AnchorError, answer(400))


def _add_limits(app: FastAPI) -> None:
    @app.middleware("http")
    async def limit(request: Request, call_next: Any) -> Response:
        length = request.headers.get("content-length", "0")
        chunked = "chunked" in request.headers.get("transfer-encoding", "")
        if chunked or not length.isdigit() or int(length) > MOST_BODY:
            return JSONResponse({"error": f"A request may have {MOST_BODY} bytes, and must say how many."}, 413)
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; img-src 'self' data:; script-src 'self' blob:; media-src 'self' blob:; "
            "frame-ancestors 'none'"
        )
        return response


def _page(name: str, kind: str) -> Response:
    return Response((files("anchor.serving") / "page" / name).read_bytes(), media_type=kind)
