"""LiveTalking's routes, so that its clients switch to this server by their URL.

`/offer` opens a session and answers WebRTC; `/human`, `/humanaudio`, `/interrupt_talk`, `/is_speaking`, `/record` and
`/set_audiotype` name it by `sessionid`. Answers are ``{"code": 0, "msg": "ok", "data": ...}``, errors ``{"code": -1,
"msg": ...}`` with status 200 as there, but for those of access and room, which have their own status too.

A sessionid is 16 digits: older pages read it as a number (it stays below 2^53), newer ones as a text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from anchor.errors import AnchorError, ConfigError
from anchor.serving.access import Access, Key, RateError
from anchor.serving.conversation import Talks
from anchor.serving.live import Live
from anchor.serving.outputs import FILM_TYPE, Ways
from anchor.serving.station import RETRY_S, BusyError, Station, UnknownError
from anchor.serving.uploads import MOST_AUDIO, play, read_form, read_sound
from anchor.serving.webrtc import answer_offer
from anchor.speech.text import clean_text

__all__ = ["LARGER", "add_livetalking"]

LARGER = {"/humanaudio": MOST_AUDIO + 4096}  # bytes that a request of a path may have
COOKIE = "anchor_token"
FIRST_ID, NUM_IDS = 10**15, 2**53 - 10**15
MOST_ENDED = 1000  # sessions whose recordings may still be asked for
SILENT_AT_FIRST_S = 15.0  # a viewer may take so long to connect
FIRST_ACTION = 2  # audiotype 0 and 1 are speaking and silence there; custom ones begin here
PAGES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".jpg": "image/jpeg",
         ".svg": "image/svg+xml", ".ico": "image/x-icon", ".woff": "font/woff", ".woff2": "font/woff2"}  # fmt: skip
MOST_PAGES = 2000
# Its pages carry their scripts inside and load libraries from elsewhere: they are the operator's own.
PAGE_RULES = "default-src 'self' 'unsafe-inline' data: blob: https:; connect-src 'self'; frame-ancestors 'none'"

Serve = Callable[[Request, Key], Awaitable[Mapping[str, Any]]]


class LiveTalking:
    """The sessions that its clients opened, by their own ids."""

    def __init__(self, station: Station, ways: Ways, talks: Talks) -> None:
        self._station, self._ways, self._talks = station, ways, talks
        self._ids: dict[str, tuple[str, str]] = {}  # sessionid: session's id and owner; those that ended too
        self._speech: dict[str, asyncio.Task[None]] = {}  # of uploaded sound, one after the other, by session's id
        self._closing: set[asyncio.Task[None]] = set()

    def find(self, about: Mapping[str, Any], key: Key) -> Live:
        """The session that a request names.

        Raises:
            UnknownError: there is none, or it is another's.
        """
        id, owner = self._ids.get(str(about.get("sessionid", "")), ("", ""))
        if owner != key.name:
            raise UnknownError("session not found")
        return self._station.find(id, key.name)

    async def offer(self, request: Request, key: Key) -> Mapping[str, Any]:
        """A new session and its viewer."""
        about = await _json(request)
        live = self._station.open(_text(about, "avatar", 64), key.name)
        try:
            peer, answer = await answer_offer(live.session.hub, _text(about, "sdp"))
        except BaseException:
            await self._station.close(live)
            raise
        sessionid = str(FIRST_ID + secrets.randbelow(NUM_IDS))
        for old in list(self._ids)[: max(0, len(self._ids) - MOST_ENDED - len(self._station.sessions))]:
            if self._ids[old][0] not in self._station.sessions:
                del self._ids[old]
        self._ids[sessionid] = (live.id, key.name)
        watching = asyncio.get_running_loop().create_task(self._watch(live, peer))
        live.closers.add(peer.close)
        live.closers.add(watching.cancel)
        return {"sdp": answer, "type": "answer", "sessionid": sessionid}

    async def human(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Say a text, or answer it."""
        about = await _json(request)
        live, kind, text = self.find(about, key), _text(about, "type"), _text(about, "text").replace("**", "")
        clean_text(text)  # refused before it interrupts anything
        if kind not in ("echo", "chat"):
            raise ConfigError(f"type={kind[:20]!r} is neither echo nor chat.")
        if about.get("interrupt"):
            await self._interrupt(live)
        if kind == "echo":
            self._station.say(live, text)
        else:
            self._talks.ask(live, text)
        return {"data": "ok"}

    async def human_audio(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Say a recording."""
        form = read_form(request.headers.get("content-type", ""), await request.body())
        live = self.find({"sessionid": form.get("sessionid", b"").decode("ascii", "replace")}, key)
        if "file" not in form:
            raise ConfigError("The form has no file.")
        self._station.admit(live)
        epoch = live.session.timeline.epoch
        sound_L4 = await asyncio.get_running_loop().run_in_executor(None, read_sound, form["file"])
        before = self._speech.get(live.id)

        async def speak() -> None:
            if before is not None:
                await asyncio.wait({before})
            await play(live, sound_L4, epoch)

        task = self._speech[live.id] = asyncio.get_running_loop().create_task(speak())
        live.closers.add(task.cancel)

        def forget(done: asyncio.Task[None]) -> None:
            live.closers.discard(done.cancel)
            if self._speech.get(live.id) is done:
                del self._speech[live.id]

        task.add_done_callback(forget)
        return {"data": "ok"}

    async def interrupt_talk(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Be silent."""
        await self._interrupt(self.find(await _json(request), key))
        return {"data": "ok"}

    async def is_speaking(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Whether anything is said, or waits to be."""
        live = self.find(await _json(request), key)
        return {"data": live.is_speaking or live.id in self._speech}

    async def record(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Begin or end a recording."""
        about = await _json(request)
        live, kind = self.find(about, key), _text(about, "type")
        if kind == "start_record":
            self._ways.recorder().begin(live)
        elif kind == "end_record":
            await self._ways.recorder().end(live)
        else:
            raise ConfigError(f"type={kind[:20]!r} is neither start_record nor end_record.")
        return {"data": "ok"}

    def film(self, sessionid: str, key: Key) -> Path:
        """The newest finished recording of a session, also when that has ended.

        Raises:
            UnknownError: there is none.
        """
        id, owner = self._ids.get(sessionid, ("", ""))
        found = self._ways.recorder().of_session(id) if owner == key.name else None
        if found is None:
            raise UnknownError("There is no recording of this session.")
        path = self._ways.recorder().find(found.name, key.name).path
        assert path is not None
        return path

    async def set_audiotype(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Show an action: 2 is the avatar's first one, or by its name; 0 and 1 are the avatar as it is."""
        about = await _json(request)
        live, wanted = self.find(about, key), about.get("audiotype")
        actions = live.avatar.actions
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            if 0 <= wanted < FIRST_ACTION:
                return {"data": "ok"}
            place = wanted - FIRST_ACTION
            wanted = actions[place].name if 0 <= place < len(actions) else str(wanted)
        if not isinstance(wanted, str) or not live.session.act(wanted):
            raise UnknownError(f"This avatar has no action for audiotype={str(wanted)[:40]!r}.")
        return {"data": "ok"}

    async def _interrupt(self, live: Live) -> None:
        task = self._speech.pop(live.id, None)
        if task is not None:
            task.cancel()
        await live.director.interrupt()

    async def _watch(self, live: Live, peer: RTCPeerConnection) -> None:
        """Keep a session while its viewer reports what it receives, and end it with the connection.

        Browsers send such a report every second; ICE alone would notice a dead one after half a minute.
        """
        newest, began = None, time.monotonic()
        while peer.connectionState not in ("closed", "failed"):
            reports = (await peer.getStats()).values()
            heard = max((one.timestamp for one in reports if one.type == "remote-inbound-rtp"), default=None)
            if heard != newest or (heard is None and time.monotonic() - began < SILENT_AT_FIRST_S):
                newest = heard
                live.touch()
            await asyncio.sleep(1.0)
        closing = asyncio.get_running_loop().create_task(self._station.close(live))  # which cancels this one
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def add_livetalking(
    app: FastAPI, station: Station, access: Access, ways: Ways, talks: Talks, pages: Path | None = None
) -> None:
    """Its routes; ``pages`` is its folder `web`, whose files are then shown under their own names.

    Raises:
        ConfigError: ``pages`` is no folder, or holds too much.
    """
    its = LiveTalking(station, ways, talks)

    def add(path: str, scope: str, serve: Serve) -> None:
        @app.post(path, name=path)
        async def route(request: Request) -> Response:
            try:
                return JSONResponse({"code": 0, "msg": "ok", **await serve(request, _key(access, request, scope))})
            except BusyError as error:
                return _error(str(error), 503, {"Retry-After": str(RETRY_S)})
            except RateError as error:
                return _error(str(error), 429, {"Retry-After": str(int(error.retry_s) + 1)})
            except _RefusedError as error:
                return _error(str(error), error.status)
            except AnchorError as error:
                return _error(str(error))

    add("/offer", "speak", its.offer)
    add("/human", "speak", its.human)
    add("/humanaudio", "speak", its.human_audio)
    add("/interrupt_talk", "speak", its.interrupt_talk)
    add("/is_speaking", "view", its.is_speaking)
    add("/record", "record", its.record)
    add("/set_audiotype", "speak", its.set_audiotype)

    @app.get("/record/{sessionid}")
    async def film(sessionid: str, request: Request) -> Response:
        try:
            path = its.film(sessionid, _key(access, request, "record"))
        except _RefusedError as error:
            return _error(str(error), error.status)
        return FileResponse(path, media_type=FILM_TYPE, filename=path.name)

    @app.get("/livetalking")
    async def enter(token: str = "") -> Response:
        """A token into a cookie that other sites cannot use: its pages know of no tokens."""
        if access.find(token) is None:
            return _error("This token is not known.", 401)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer

    files = _list_pages(pages) if pages is not None else {}

    @app.get("/{name:path}")
    async def page(name: str) -> Response:
        path = files.get(name)
        if path is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return FileResponse(
            path, media_type=PAGES[path.suffix.lower()], headers={"Content-Security-Policy": PAGE_RULES}
        )


class _RefusedError(Exception):
    """Who may not; ``status`` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _key(access: Access, request: Request, scope: str) -> Key:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = access.find(token.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, ""))
    if key is None:
        raise _RefusedError(401, "A token is needed: Authorization: Bearer TOKEN, or open /livetalking?token=TOKEN.")
    if not key.may(scope):
        raise _RefusedError(403, f"This token may not {scope}.")
    key.spend()
    return key


def _error(message: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"code": -1, "msg": message}, status, headers)


async def _json(request: Request) -> dict[str, Any]:
    """The body, of a request that no form of another site can send."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ConfigError("Send JSON: Content-Type: application/json.")
    about = None
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(await request.body())
    if not isinstance(about, dict):
        raise ConfigError("The request is no JSON object.")
    return about


def _text(about: Mapping[str, Any], name: str, most: int = 10_000_000) -> str:
    value = about.get(name) or ""
    if not isinstance(value, str) or len(value) > most:
        raise ConfigError(f"{name} is no text, or too long.")
    return value


def _list_pages(folder: Path) -> dict[str, Path]:
    """Every page of a folder by its name: a request's path is looked up here, and nowhere else."""
    if not folder.is_dir():
        raise ConfigError(f"livetalking_pages={folder} is no folder. Give LiveTalking's own folder web.")
    root = folder.resolve()
    found = {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in PAGES and path.is_file() and path.resolve().is_relative_to(root)
    }
    if len(found) > MOST_PAGES:
        raise ConfigError(f"livetalking_pages={folder} holds {len(found)} pages; {MOST_PAGES} are shown at most.")
    return found
