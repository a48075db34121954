"""The routes: REST for what is asked once, WebSockets for what flows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Response, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from anchor.serving.access import Access, Key
from anchor.serving.containers import FMP4_TYPE
from anchor.serving.conversation import Minds, Talks
from anchor.serving.director import MOST_TEXT
from anchor.serving.doors import Needs, add_errors, add_limits
from anchor.serving.incoming import hear
from anchor.serving.livetalking_routes import LARGER, add_livetalking
from anchor.serving.metrics import prometheus_text
from anchor.serving.outputs import Outputs, Ways
from anchor.serving.sockets import serve_socket
from anchor.serving.station import Station, UnknownError
from anchor.serving.streams import send_film, tell_events
from anchor.serving.talking import add_conversation
from anchor.serving.webrtc import MOST_SDP, show

__all__ = ["make_app"]


class _Open(BaseModel):
    avatar: str = Field("", max_length=64)


class _Offer(BaseModel):
    sdp: str = Field(max_length=MOST_SDP)


class _Say(BaseModel):
    text: str = Field(max_length=MOST_TEXT)
    interrupt: bool = False


class _Name(BaseModel):
    name: str = Field(max_length=64)


def make_app(
    station: Station, access: Access, on_start: Callable[[], Any] | None = None, minds: Minds | None = None,
    outputs: Outputs | None = None,
) -> FastAPI:  # fmt: skip
    """The application of a station: who may do what is ``access``'s, what sessions answer with is ``minds``'s.

    ``outputs`` says what may leave it.
    """
    ways = Ways(station, outputs or Outputs())

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if on_start is not None:
            await on_start()
        ways.start()
        yield
        await station.leave()

    app = FastAPI(title="Anchor", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    add_errors(app)
    add_limits(app, LARGER if ways.outputs.livetalking else {})
    app.state.station, app.state.access, app.state.ways = station, access, ways
    view, speak, admin = (Depends(Needs(access, scope)) for scope in ("view", "speak", "admin"))

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

    @app.post("/api/reload", dependencies=[admin])
    async def reload() -> dict[str, Any]:
        return dataclasses.asdict(await station.reload())

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
        return {
            "id": live.id,
            "avatar": live.avatar.name,
            "stream_type": FMP4_TYPE,
            "records": ways.recordings is not None,
        }

    @app.delete("/api/sessions/{id}", status_code=204)
    async def close_session(id: str, key: Key = speak) -> None:
        await station.close(station.find(id, key.name))

    @app.get("/api/sessions/{id}")
    async def show_session(id: str, key: Key = view) -> dict[str, Any]:
        return station.find(id, key.name).show()

    @app.post("/api/sessions/{id}/offer")
    async def offer(id: str, body: _Offer, key: Key = view) -> dict[str, Any]:
        live = station.find(id, key.name)
        _, answer = await show(live, body.sdp)
        return {"type": "answer", "sdp": answer}

    @app.post("/api/sessions/{id}/say", status_code=202)
    async def say(id: str, body: _Say, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        await station.make_way(live, body.text, body.interrupt)
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
        return {"avatar": live.avatar.name}

    @app.websocket("/api/sessions/{id}/events")
    async def events(socket: WebSocket, id: str) -> None:
        await serve_socket(socket, station, access, id, "view", tell_events)

    @app.websocket("/api/sessions/{id}/stream")
    async def stream(socket: WebSocket, id: str) -> None:
        await serve_socket(socket, station, access, id, "view", send_film)

    @app.websocket("/api/sessions/{id}/speech")
    async def speech(socket: WebSocket, id: str) -> None:
        await serve_socket(socket, station, access, id, "speak", functools.partial(hear, station))

    ways.add_routes(app, access)
    add_conversation(app, station, access, minds or Minds())
    if ways.outputs.livetalking:
        talks, its = Talks(station, minds or Minds()), ways.outputs
        add_livetalking(app, station, access, ways, talks, its.livetalking_pages, its.livetalking_hosts)
    return app


def _page(name: str, kind: str) -> Response:
    return Response((files("anchor.serving") / "page" / name).read_bytes(), media_type=kind)
