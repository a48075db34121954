"""LiveTalking's routes and pages, so that its clients switch to this server by their URL.

`/offer` opens a session and answers WebRTC; `/human`, `/humanaudio`, `/interrupt_talk`, `/is_speaking`, `/record` and
`/set_audiotype` name it by `sessionid`. Answers are ``{"code": 0, "msg": "ok", "data": ...}``, errors ``{"code": -1,
"msg": ...}`` with status 200 as there, but for those of access and room, which have their own status too.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from anchor.errors import AnchorError, ConfigError
from anchor.serving.access import Access, Key, RateError
from anchor.serving.admission import RETRY_S, BusyError
from anchor.serving.conversation import Talks
from anchor.serving.livetalking import SESSION_COOKIE, LiveTalking
from anchor.serving.outputs import FILM_TYPE, Ways
from anchor.serving.station import Station
from anchor.serving.uploads import MOST_AUDIO

__all__ = ["LARGER", "add_livetalking"]

LARGER = {"/humanaudio": MOST_AUDIO + 4096}  # bytes that a request of a path may have
KEY_COOKIE = "anchor_token"
PAGES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".jpg": "image/jpeg",
         ".svg": "image/svg+xml", ".ico": "image/x-icon", ".woff": "font/woff", ".woff2": "font/woff2"}  # fmt: skip
MOST_PAGES = 2000
# Its pages carry their scripts inside and load libraries from elsewhere: they are the operator's own.
PAGE_RULES = "default-src 'self' 'unsafe-inline' data: blob: https:; frame-ancestors 'self'; connect-src 'self'"
HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")

Serve = Callable[[Request, Key], Awaitable[Mapping[str, Any]]]


def add_livetalking(
    app: FastAPI,
    station: Station,
    access: Access,
    ways: Ways,
    talks: Talks,
    pages: Path | None = None,
    hosts: Sequence[str] = (),
) -> None:
    """Its routes; ``pages`` is its folder `web`, whose files are then shown under their own names.

    ``hosts`` are servers that those may connect to besides this one: a recogniser, as webrtcapi-asr.html wants.

    Raises:
        ConfigError: ``pages`` is no folder, or holds too much, or one of ``hosts`` is none.
    """
    wrong = [host for host in hosts if not HOST.fullmatch(host)]
    if wrong:
        raise ConfigError(f"livetalking_hosts={wrong[0]} is neither HOST nor HOST:PORT. Leave out ws:// and the path.")
    page_rules = " ".join([PAGE_RULES, *(f"http://{host} ws://{host}" for host in hosts)])  # and with TLS: it says so
    its = LiveTalking(station, ways, talks)

    def add(path: str, scope: str, serve: Serve) -> None:
        @app.post(path, name=path)
        async def route(request: Request) -> Response:
            try:
                said = await serve(request, _key(access, request, scope))
            except BusyError as error:
                return _error(str(error), 503, {"Retry-After": str(RETRY_S)})
            except RateError as error:
                return _error(str(error), 429, {"Retry-After": str(int(error.retry_s) + 1)})
            except _RefusedError as error:
                return _error(str(error), error.status)
            except AnchorError as error:
                return _error(str(error))
            answer = JSONResponse({"code": 0, "msg": "ok", **said})
            if "sessionid" in said:
                answer.set_cookie(SESSION_COOKIE, said["sessionid"], httponly=True, samesite="strict")
            return answer

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
        answer.set_cookie(KEY_COOKIE, token, httponly=True, samesite="strict")
        return answer

    files = _list_pages(pages) if pages is not None else {}

    @app.get("/{name:path}")
    async def page(name: str) -> Response:
        path = files.get(name)
        if path is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return FileResponse(
            path, media_type=PAGES[path.suffix.lower()], headers={"Content-Security-Policy": page_rules}
        )


class _RefusedError(Exception):
    """Who may not; ``status`` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _key(access: Access, request: Request, scope: str) -> Key:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = access.find(token.strip() if scheme.lower() == "bearer" else request.cookies.get(KEY_COOKIE, ""))
    if key is None:
        raise _RefusedError(401, "A token is needed: Authorization: Bearer TOKEN, or open /livetalking?token=TOKEN.")
    if not key.may(scope):
        raise _RefusedError(403, f"This token may not {scope}.")
    key.spend()
    return key


def _error(message: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"code": -1, "msg": message}, status, headers)


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
