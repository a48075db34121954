"""Who is let in, and with how much: what stands before every route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from anchor.errors import AnchorError
from anchor.serving.access import Access, Key, RateError
from anchor.serving.station import RETRY_S, BusyError, UnknownError
from anchor.serving.webrtc import OfferError

__all__ = ["Needs", "add_errors", "add_limits"]

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


def add_errors(app: FastAPI) -> None:
    """Every error of ours as a status and a sentence."""

    def answer(status: int, headers: Callable[[Exception], dict[str, str]] = lambda error: {}) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return JSONResponse({"error": str(error)}, status, headers(error))

        return handle

    app.add_exception_handler(BusyError, answer(503, lambda error: {"Retry-After": str(RETRY_S)}))
    app.add_exception_handler(RateError, answer(429, lambda error: {"Retry-After": str(int(error.retry_s) + 1)}))  # type: ignore[attr-defined]
    app.add_exception_handler(UnknownError, answer(404))
    app.add_exception_handler(OfferError, answer(400))
    app.add_exception_handler(AnchorError, answer(400))


def add_limits(app: FastAPI) -> None:
    """Bound a request before it is read, and say to browsers what a page of ours may do."""

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
