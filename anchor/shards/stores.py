"""What lies behind an address, in single tries: a web server or an S3 bucket, through the file systems of fsspec.

Whatever a server does ends in a ``Fault``: nothing here waits longer than it is told, and no error of a library goes
through, because those show addresses with their secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from anchor.errors import ConfigError
from anchor.shards.faults import AGAIN, ONCE, Fault, MissingFault, network_fault
from anchor.shards.retries import Retries

__all__ = ["PARALLEL", "Download", "FsspecStore", "Reply", "Store", "load_package", "nothing", "sizes_together"]

T = TypeVar("T")

BLOCK = 1 << 20  # bytes given on at once
GATHER_S = 0.5  # the longest that a slow body's bytes are held back
PARALLEL = 64  # requests for sizes under way at once
MOMENT_S = 0.05  # two clocks may differ by so much when a time is up
PAGE_STARTS = (b"<!doctype html", b"<html")


@dataclass
class Download:
    """One body on its way: how many bytes were announced (None: not said), and its blocks."""

    length: int | None
    blocks: Iterator[bytes]


class Store(Protocol):
    """Single tries at the files under one address; ``deadline`` is the ``time.monotonic()`` at which each gives up."""

    def open(self, name: str, deadline: float, span: tuple[int, int] | None = None) -> Any:
        """A context with the ``Download`` of a whole file, or of its bytes ``span[0]:span[1]``, as far as it goes."""

    def sizes(self, names: Sequence[str], deadline: float) -> dict[str, int | Fault | None]:
        """Bytes of each file; None where it is missing, or what went wrong."""

    def names(self, deadline: float) -> list[str] | None:
        """Every file here; None where that cannot be known."""


@dataclass
class Reply:
    """An answer whose body waits. ``start`` is the place of its first byte in the file."""

    length: int | None
    start: int
    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], Any]


class FsspecStore:
    """What both kinds share: one file system per process, since the thread of fsspec's loop does not survive a fork."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._made: Any = None
        _STORES.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _STORES.add(self)

    @contextlib.contextmanager
    def open(self, name: str, deadline: float, span: tuple[int, int] | None = None) -> Iterator[Download]:
        """See ``Store``."""
        system = self._system()
        reply = self._run(lambda: self._request(name, span), deadline)
        try:
            begin = time.monotonic()
            first = self._run(lambda: _gather(reply), deadline)
            if first[:32].lstrip().lower().startswith(PAGE_STARTS):
                raise Fault("a web page arrived in place of the file", "Check the address, and who may read it.", ONCE)
            yield Download(reply.length, self._blocks(reply, first, span, begin, deadline))
        finally:
            system.loop.call_soon_threadsafe(reply.close)

    def _blocks(
        self, reply: Reply, block: bytes, span: tuple[int, int] | None, begin: float, deadline: float
    ) -> Iterator[bytes]:
        """The body, of which ``block`` is the first; only the bytes of ``span``, also where a server sends all."""
        received = 0
        skip = span[0] - reply.start if span else 0
        left = span[1] - span[0] if span else None
        while block:
            received += len(block)
            took = time.monotonic() - begin
            if took > self._retries.grace_s and received / took < self._retries.floor_bytes_per_s:
                raise Fault(f"only {received / took:.0f} bytes per second arrive", AGAIN)
            skipped = min(skip, len(block))
            skip -= skipped
            block = block[skipped:][:left]
            if left is not None:
                left -= len(block)
            if block:
                yield block
            if left == 0:
                return
            block = self._run(lambda: _gather(reply), deadline)

    def _run(self, make: Callable[[], Awaitable[T]], deadline: float) -> T:
        """The result of a coroutine on fsspec's loop, or a ``Fault``."""
        from fsspec.asyn import sync

        async def guarded() -> T:
            try:
                return await asyncio.wait_for(make(), max(deadline - time.monotonic(), MOMENT_S))
            except Fault:
                raise
            except Exception as error:
                if isinstance(error, asyncio.TimeoutError) and time.monotonic() > deadline - MOMENT_S:
                    raise Fault("the time for it is over", AGAIN) from None
                raise self._fault(error) from None

        result: T = sync(self._system().loop, guarded)
        return result

    def _system(self) -> Any:
        if self._made is None:
            self._made = self._make_system()
        return self._made

    def _make_system(self) -> Any:
        raise NotImplementedError

    async def _request(self, name: str, span: tuple[int, int] | None) -> Reply:
        raise NotImplementedError

    def _fault(self, error: Exception) -> Fault:
        return network_fault(error, self._retries.connect_s, self._retries.stall_s)


_STORES: weakref.WeakSet[FsspecStore] = weakref.WeakSet()
_INHERITED: list[Any] = []


def _leave_to_parent() -> None:
    """In a forked child: forget the file systems of the parent without ever closing them.

    Closing one here would wait a second for a thread that does not exist, and stop the parent from hearing of its
    connections, because both share what watches them.
    """
    for store in list(_STORES):
        _INHERITED.append(store._made)
        store._made = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def load_package(module: str, package: str) -> Any:
    """An optional package, or the sentence how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"Remote shards of this kind need the package {module} ({error}): pip install '{package}'"
        ) from error


async def _gather(reply: Reply) -> bytes:
    """About a block of the body, or what came in a while; empty at its end."""
    parts, size, until = [], 0, time.monotonic() + GATHER_S
    while size < BLOCK and time.monotonic() < until and (part := await reply.read(BLOCK - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def nothing(size: int) -> bytes:
    """The body of a reply that has none."""
    return b""


async def sizes_together(
    size_of: Callable[[str], Awaitable[int | None]], fault_of: Callable[[Exception], Fault], names: Sequence[str]
) -> dict[str, int | Fault | None]:
    """Many sizes at once, a few requests at a time."""
    gate = asyncio.Semaphore(PARALLEL)

    async def one(name: str) -> int | Fault | None:
        async with gate:
            try:
                return await size_of(name)
            except Fault as fault:
                found = fault
            except Exception as error:
                found = fault_of(error)
            return None if isinstance(found, MissingFault) else found

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
