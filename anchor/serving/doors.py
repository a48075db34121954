"""Who is let in, and with how much: what stands before every route."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from anchor.errors import AnchorError
from anchor.serving.access import Access, Key, RateError
from anchor.serving.admission import RETRY_S, BusyError
from anchor.serving.station import UnknownError
from anchor.serving.webrtc import OfferError

__all__ = ["Needs", "OnlyHere", "add_errors", "add_limits"]

MOST_BODY = 256 * 1024  # bytes of a request


class Needs:
    """A dependency: the key of a request, if it is good for a scope."""

    def __init__(self, access: Access, scope: str) -> None:
        self._access, self._scope = access, scope

    async def __call__(self, request: Request) -> Key:
        """The key, one request poorer."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = self._access.find(token.strip() if scheme.lower() == "bearer" else "")
        if key is None:
            raise HTTPException(401, "A token is needed: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})
        if not key.may(self._scope):
            raise HTTPException(403, f"This token may not {self._scope}.")
        key.spend()
        return key


class OnlyHere:
    """Let in who calls this machine by a name of its own, and nobody else.

    A page elsewhere may give its own name the address of this machine, and then the browser takes our routes for that
    page's (DNS rebinding). Without tokens, the name in the request is all that tells the two apart.
    """

    def __init__(self, app: Any, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(names)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve, or refuse with status 403."""
        if scope["type"] in ("http", "websocket"):
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            try:
                name = urlsplit(f"//{host}").hostname
            except ValueError:
                name = None
            if name not in self._names:
                said = {"error": "Without tokens this server is for this machine alone: call it by 127.0.0.1."}
                await JSONResponse(said, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def add_errors(app: FastAPI) -> None:
    """Every error of ours as a status and a sentence."""

    def answer(status: int, headers: Callable[[Exception], dict[str, str]] = lambda error: {}) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return JSONResponse({"error": str(error)}, status, headers(error))

        return handle

    async def refuse(request: Request, error: Exception) -> Response:
        """What is wrong with a body, without the body: FastAPI's own answer fails on bytes that are no text."""
        first = error.errors()[0]  # type: ignore[attr-defined]
        where = ".".join(map(str, first.get("loc", ()))) or "body"
        return JSONResponse({"error": f"{where}: {first.get('msg', 'not understood')}."}, 422)

    app.add_exception_handler(RequestValidationError, refuse)
    app.add_exception_handler(BusyError, answer(503, lambda error: {"Retry-After": str(RETRY_S)}))
    app.add_exception_handler(RateError, answer(429, lambda error: {"Retry-After": str(int(error.retry_s) + 1)}))  # type: ignore[attr-defined]
    app.add_exception_handler(UnknownError, answer(404))
    app.add_exception_handler(OfferError, answer(400))
    app.add_exception_handler(AnchorError, answer(400))


def add_limits(app: FastAPI, larger: Mapping[str, int]) -> None:
    """Bound a request before it is read, and say to browsers what a page of ours may do.

    ``larger`` gives paths that take more bytes than the others.
    """

    @app.middleware("http")
    async def limit(request: Request, call_next: Any) -> Response:
        length = request.headers.get("content-length", "0")
        most = larger.get(request.url.path, MOST_BODY)
        chunked = "chunked" in request.headers.get("transfer-encoding", "")
        is_count = length.isascii() and length.isdigit() and len(length) < 10
        if chunked or not is_count or int(length) > most:
            return JSONResponse({"error": f"A request may have {most} bytes, and must say how many."}, 413)
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'self'; img-src 'self' data:; script-src 'self' blob:; media-src 'self' blob:; "
            "frame-ancestors 'none'",
        )
        return response
