"""A session's packets to one consumer, which may take its time: the clock does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from anchor.serving.encoding import Packet
from anchor.serving.hub import Viewer

__all__ = ["KINDS", "feed"]


KINDS = ("h264", "aac")  # what containers hold


async def feed(viewer: Viewer, take: Callable[[Packet], Awaitable[None]]) -> None:
    """Hand every packet of a viewer of :data:`KINDS` to ``take``, one after the other, until the session ends.

    Where ``take`` is too slow, the viewer leaves packets out and begins again at a key frame. What ``take`` raises ends
    the feed. The viewer is closed in any case.
    """
    turn = asyncio.Lock()

    async def pump(kind: str) -> None:
        while (packet := await viewer.get(kind)) is not None:
            async with turn:
                await take(packet)

    pumps = [asyncio.ensure_future(pump(kind)) for kind in KINDS]
    try:
        await asyncio.gather(*pumps)
    finally:
        viewer.close()
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
