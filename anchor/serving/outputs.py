"""The routes of a session's ways out of the page: recordings, RTMP, HLS."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from anchor.avatars import provenance
from anchor.errors import ConfigError
from anchor.serving.access import Access, Key
from anchor.serving.doors import Needs
from anchor.serving.hls import HLS_TYPE, Broadcast, Broadcasts
from anchor.serving.live import Live
from anchor.serving.push import MOST_PUSHES, Push, check_address
from anchor.serving.recording import Recordings
from anchor.serving.station import Station, UnknownError

__all__ = ["Outputs", "Ways"]

FILM_TYPE = "video/mp4"


@dataclass(frozen=True)
class Outputs:
    """What may leave the server, and how much of it."""

    recordings: Path | None = None  # a folder; None records nothing
    recording_minutes: float = 60.0
    recordings_gigabytes: float = 20.0
    push_hosts: tuple[str, ...] = ()  # host or host:port
    livetalking: bool = False  # its routes
    livetalking_pages: Path | None = None  # and its own pages
    livetalking_hosts: tuple[str, ...] = ()  # host or host:port: where those may connect to, besides here


class _Address(BaseModel):
    url: str = Field(max_length=1024)


class Ways:
    """The ways out of a station, and their routes.

    Raises:
        ConfigError: the folder of the recordings cannot be written to.
    """

    def __init__(self, station: Station, outputs: Outputs) -> None:
        self.station, self.outputs = station, outputs
        self.broadcasts = Broadcasts()
        self.pushes: dict[str, list[Push]] = {}
        self.recordings: Recordings | None = None
        if outputs.recordings is not None:
            self.recordings = Recordings(
                outputs.recordings, outputs.recording_minutes, round(outputs.recordings_gigabytes * 1e9)
            )
        self._finishing: asyncio.Task[list[str]] | None = None

    def start(self) -> None:
        """Complete, beside all else, what a server that was killed had recorded."""
        if self.recordings is not None:
            self._finishing = asyncio.get_running_loop().create_task(self.recordings.finish_left())

    def recorder(self) -> Recordings:
        """The recordings.

        Raises:
            ConfigError: nothing is recorded here.
        """
        if self.recordings is None:
            raise ConfigError("This server records nothing. Its operator may start it with recordings=DIR.")
        return self.recordings

    def broadcast(self, live: Live) -> Broadcast:
        """The HLS of a session."""
        return self.broadcasts.begin(live, self.tags(live))

    def push(self, live: Live, url: str) -> Push:
        """Send a session to an RTMP server.

        Raises:
            ConfigError: the address is none, or not allowed, or the session is sent to enough of them.
        """
        where = check_address(url, self.outputs.push_hosts)
        mine = self.pushes.setdefault(live.id, [])
        if len([one for one in mine if one.state != "ended"]) >= MOST_PUSHES:
            raise ConfigError(f"A session may be sent to {MOST_PUSHES} servers at once. End one of them.")
        push = Push(live, len(mine) + 1, url, where, self.tags(live))
        mine.append(push)
        if len(mine) == 1:
            live.closers.add(lambda: self.pushes.pop(live.id, None))
            live.told["pushes"] = lambda: [one.tell() for one in mine[-2 * MOST_PUSHES :]]
        push.begin()
        return push

    def tags(self, live: Live) -> dict[str, str]:
        """What films of a session say of it."""
        return provenance(live.avatar.name, live.avatar.id)

    def add_routes(self, app: FastAPI, access: Access) -> None:
        """All of them, to ``app``."""
        station = self.station
        view, record = (Depends(Needs(access, scope)) for scope in ("view", "record"))

        @app.post("/api/sessions/{id}/recording", status_code=201)
        async def begin_recording(id: str, key: Key = record) -> dict[str, Any]:
            return self.recorder().begin(station.find(id, key.name)).tell()

        @app.get("/api/sessions/{id}/recording")
        async def show_recording(id: str, key: Key = view) -> dict[str, Any]:
            found = self.recorder().of(station.find(id, key.name))
            if found is None:
                raise UnknownError("This session is not recorded.")
            return found.tell()

        @app.delete("/api/sessions/{id}/recording")
        async def end_recording(id: str, key: Key = record) -> dict[str, Any]:
            return (await self.recorder().end(station.find(id, key.name))).tell()

        @app.get("/api/recordings/{name}")
        async def read_recording(name: str, key: Key = record) -> Response:
            found = self.recorder().find(name, key.name)
            assert found.path is not None
            return FileResponse(found.path, media_type=FILM_TYPE, filename=found.name)

        @app.post("/api/sessions/{id}/push", status_code=202)
        async def begin_push(id: str, body: _Address, key: Key = record) -> dict[str, Any]:
            return self.push(station.find(id, key.name), body.url).tell()

        @app.delete("/api/sessions/{id}/push/{number}")
        async def end_push(id: str, number: int, key: Key = record) -> dict[str, Any]:
            live = station.find(id, key.name)
            found = next((one for one in self.pushes.get(live.id, ()) if one.number == number), None)
            if found is None:
                raise UnknownError(f"This session has no push {number}.")
            await found.end()
            return found.tell()

        @app.post("/api/sessions/{id}/hls")
        async def begin_hls(id: str, key: Key = view) -> dict[str, Any]:
            return {"url": f"/hls/{self.broadcast(station.find(id, key.name)).secret}/index.m3u8"}

        @app.get("/api/sessions/{id}/hls/index.m3u8")
        async def show_hls(id: str, key: Key = view) -> Response:
            broadcast = self.broadcast(station.find(id, key.name))
            return Response(await broadcast.playlist(f"../../../../hls/{broadcast.secret}/"), media_type=HLS_TYPE)

        @app.get("/hls/{secret}/index.m3u8")
        async def playlist(secret: str) -> Response:
            return Response(await self.broadcasts.find(secret).playlist(), media_type=HLS_TYPE)

        @app.get("/hls/{secret}/{name}")
        async def piece(secret: str, name: str) -> Response:
            return Response(self.broadcasts.find(secret).read(name), media_type=FILM_TYPE)
