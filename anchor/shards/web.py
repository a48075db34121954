"""Files on a web server, in single tries."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any

from anchor.shards.faults import CONTENT, ONCE, PASSING, TWICE, Fault, range_of, status_fault
from anchor.shards.retries import Retries
from anchor.shards.stores import FsspecStore, Reply, load_package, nothing, sizes_together

__all__ = ["HttpStore"]


class HttpStore(FsspecStore):
    """A folder on a web server. It cannot list; user and password in the address, ~/.netrc and proxies are honoured."""

    def __init__(self, url: str, retries: Retries) -> None:
        super().__init__(retries)
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.quote(parts.path.rstrip("/"), safe="/%!$&'()*+,;=:@~")
        self._before, self._after = f"{parts.scheme}://{parts.netloc}{path}/", f"?{parts.query}" if parts.query else ""

    def sizes(self, names: Sequence[str], deadline: float) -> dict[str, int | Fault | None]:
        """See ``Store``."""
        return self._run(lambda: sizes_together(self._size, self._fault, names), deadline)

    def names(self, deadline: float) -> list[str] | None:
        """See ``Store``."""
        return None

    def _make_system(self) -> Any:
        fsspec, aiohttp = load_package("fsspec", "fsspec"), load_package("aiohttp", "aiohttp")
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=self._retries.connect_s,
            sock_connect=self._retries.connect_s,
            sock_read=self._retries.stall_s,
        )
        return fsspec.filesystem(
            "http", client_kwargs={"timeout": timeout, "trust_env": True}, skip_instance_cache=True
        )

    def _address(self, name: str) -> Any:
        import yarl

        return yarl.URL(self._before + urllib.parse.quote(name) + self._after, encoded=True)

    async def _get(self, name: str, headers: dict[str, str]) -> Any:
        session = await self._system().set_session()
        return await session.get(self._address(name), headers={"Accept-Encoding": "identity", **headers})

    async def _request(self, name: str, span: tuple[int, int] | None) -> Reply:
        response = await self._get(name, {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {})
        length, start = response.content_length, 0
        try:
            if span and response.status == 416:  # the file ends before
                return Reply(0, span[0], nothing, response.close)
            if span and response.status == 206:
                start = range_of(response.headers)[0]
                if start != span[0]:
                    raise Fault(f"bytes from {start} arrived, and from {span[0]} were asked for", CONTENT, TWICE)
            elif response.status != 200:
                raise status_fault(response.status, response.reason or "")
        except BaseException:
            response.close()
            raise
        return Reply(length, start, response.content.read, response.close)

    async def _size(self, name: str) -> int | None:
        session = await self._system().set_session()
        async with session.head(
            self._address(name), headers={"Accept-Encoding": "identity"}, allow_redirects=True
        ) as response:
            status, length = response.status, response.headers.get("Content-Length", "")
        if status == 200 and length.isdecimal():
            return int(length)
        if status in (404, 410):
            return None
        if status in PASSING:
            raise status_fault(status, response.reason or "")
        response = await self._get(name, {"Range": "bytes=0-0"})  # not every server answers HEAD
        try:
            if response.status in (206, 416):
                return range_of(response.headers)[1]
            if response.status == 200 and response.content_length is not None:
                return int(response.content_length)
            if response.status == 200:
                raise Fault("the server does not say how long the file is", "Use a server that does.", ONCE)
            if response.status in (404, 410):
                return None
            raise status_fault(response.status, response.reason or "")
        finally:
            response.close()
