"""A stream from somebody else's server: bounded in time and size, and every failure is one sentence."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from anchor.errors import ConfigError, ServiceError

if sys.version_info >= (3, 11):
    from asyncio import timeout as time_limit
else:
    from async_timeout import timeout as time_limit  # comes with aiohttp
# asyncio.wait_for loses a cancellation that arrives together with the result, until Python 3.12.

__all__ = ["Bounds", "Reply", "check_address", "fetch_json", "open_stream"]

MOST_REASON = 200  # characters of a server's own words in a sentence of ours


@dataclass(frozen=True)
class Bounds:
    """How long is waited, in seconds, and how much is read."""

    connect_s: float = 4.0
    first_s: float = 10.0  # until the answer begins
    gap_s: float = 5.0  # between two pieces of it
    total_s: float = 120.0  # of reading and waiting for it; what the caller does in between does not count
    most_bytes: int = 64 * 2**20


class Reply:
    """An answer that has begun: ``status`` 200, its ``headers``, and its body piece by piece."""

    def __init__(self, what: str, response: Any, bounds: Bounds) -> None:
        self.headers = response.headers
        self.kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._what, self._response, self._bounds = what, response, bounds

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes.

        Raises:
            ServiceError: nothing comes, too much comes, or the line breaks.
        """
        import aiohttp

        left_s, count, patience_s = self._bounds.total_s, 0, self._bounds.first_s
        while True:
            began = time.monotonic()
            try:
                async with time_limit(min(patience_s, left_s)):
                    piece = await self._response.content.readany()
            except asyncio.TimeoutError:
                raise ServiceError(f"{self._what} sent nothing for {min(patience_s, left_s):.0f} s.") from None
            except (aiohttp.ClientError, OSError) as error:
                raise ServiceError(f"{self._what} broke off in the middle ({type(error).__name__}).") from None
            if not piece:
                return
            count += len(piece)
            left_s -= time.monotonic() - began
            if count > self._bounds.most_bytes or left_s <= 0:
                raise ServiceError(f"{self._what} does not come to an end: {count} bytes, and no more are read.")
            patience_s = self._bounds.gap_s
            yield piece

    async def content(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])


@asynccontextmanager
async def open_stream(
    what: str, method: str, url: str, bounds: Bounds, secret: str = "", **request: Any
) -> AsyncIterator[Reply]:
    """An answer of status 200; leaving the context ends the request, so a cancelled task ends it as well.

    Redirects are not followed: what a key was given for stays where it was sent. ``what`` names the server in
    sentences, from which ``secret`` is left out.

    Raises:
        ServiceError: the server cannot be reached, is too slow, or refuses.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=bounds.connect_s, connect=bounds.connect_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with time_limit(bounds.connect_s + bounds.first_s):
                response = await session.request(method, url, allow_redirects=False, **request)
        except (asyncio.TimeoutError, aiohttp.ServerTimeoutError):
            raise ServiceError(f"{what} did not answer in {bounds.connect_s + bounds.first_s:.0f} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = _short(str(error) or type(error).__name__, secret)
            raise ServiceError(f"{what} cannot be reached ({reason}).") from None
        async with response:
            if response.status != 200:
                said = ""
                try:
                    async with time_limit(bounds.gap_s):
                        said = (await response.content.read(4 * MOST_REASON)).decode("utf-8", "replace")
                except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                    pass
                raise ServiceError(f"{what} answered with status {response.status}: {_short(said, secret)}")
            yield Reply(what, response, bounds)


async def fetch_json(what: str, url: str, bounds: Bounds) -> Any:
    """What ``url`` holds.

    Raises:
        ServiceError: it cannot be had, or is no JSON.
    """
    async with open_stream(what, "GET", url, bounds) as reply:
        try:
            return json.loads(await reply.content())
        except (ValueError, RecursionError):
            raise ServiceError(f"{what} answered with something else than JSON.") from None


def check_address(key: str, url: str) -> str:
    """``url`` without a slash at its end.

    Raises:
        ConfigError: it is no address of http or https, or holds a password.
    """
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigError(f"{key}={url} is no address. Write http://HOST:PORT or https://HOST.")
    if parts.username or parts.password:
        raise ConfigError(f"{key}= holds a name or password, which end up in logs. Leave them out.")
    return url.rstrip("/")


def _short(text: str, secret: str) -> str:
    """One line of a server's words, without the secret."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text[:MOST_REASON] + ("..." if len(text) > MOST_REASON else "") or "no reason given"
