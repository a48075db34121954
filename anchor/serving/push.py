"""A session sent to other servers by RTMP, again and again where the line breaks.

Only hosts that the server's operator named are ever connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Sequence

from anchor.errors import ConfigError
from anchor.serving.child import start_child, stop_child
from anchor.serving.encoding import Packet
from anchor.serving.feed import KINDS, feed
from anchor.serving.live import Live
from anchor.serving.pushing import CONNECT_S, STUCK_S, write_packet

__all__ = ["MOST_PUSHES", "Push", "check_address"]

PORTS = {"rtmp": 1935, "rtmps": 443}
# The whole address, letter by letter, and no parser's idea of it: parsers differ, and FFmpeg reads options behind a
# blank of an RTMP address.
ADDRESS = re.compile(
    r"(?P<scheme>rtmps?)://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?/[A-Za-z0-9._~%!$&'()*+,;=:@/?-]{1,900}"
)
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
MOST_TRIES = 12  # in a row, about 4 min
STEADY_S = 30.0  # a line that held for so long begins to count anew
MOST_PUSHES = 3  # of one session


def check_address(url: str, hosts: Sequence[str]) -> str:
    """The ``host:port`` of an RTMP address, if it may be sent to; ``hosts`` are names with or without a port.

    Raises:
        ConfigError: it is no address of RTMP, or leads elsewhere.
    """
    match = ADDRESS.fullmatch(url)
    if match is None or not 0 < (port := int(match["port"] or PORTS[match["scheme"]])) < 65536:
        raise ConfigError(
            "url must be rtmp://HOST[:PORT]/APP/KEY or rtmps://..., without a user, a blank or a fragment."
        )
    host = match["host"].lower()
    allowed = {known if ":" in known else f"{known}:{PORTS[match['scheme']]}" for known in map(str.lower, hosts)}
    if f"{host}:{port}" not in allowed:
        raise ConfigError(
            f"{host}:{port} is not one of the servers that may be sent to. The operator names them with push_hosts=."
        )
    return f"{host}:{port}"


class Push:
    """One session to one address."""

    def __init__(self, live: Live, number: int, url: str, where: str, metadata: dict[str, str]) -> None:
        self.number, self.where = number, where
        self.state = "connecting"  # "live", "waiting", "ended"
        self.reason = ""
        self.num_tries = self.num_dropped = 0
        self._live, self._url, self._metadata = live, url, metadata
        self._task: asyncio.Task[None] | None = None

    def tell(self) -> dict[str, object]:
        """What clients learn of it: never the address's path, which is a secret."""
        return {
            "number": self.number, "to": self.where, "state": self.state, "tries": self.num_tries,
            "dropped": self.num_dropped, **({"reason": self.reason} if self.reason else {}),
        }  # fmt: skip

    def begin(self) -> None:
        """Send, until :meth:`end`, the session's end, or too many tries in a row."""
        self._live.holders.add(self)
        self._live.closers.add(self.end)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Send no more."""
        while self._task is not None and not self._task.done():
            self._task.cancel()  # until Python 3.12, wait_for loses one that comes together with its result
            await asyncio.wait({self._task}, timeout=0.2)

    async def _run(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        try:
            while failures < MOST_TRIES:
                began = loop.time()
                self._change("connecting")
                self.num_tries += 1
                if await self._send():
                    return
                failures = 1 if loop.time() - began > STEADY_S else failures + 1
                self._change("waiting")
                await asyncio.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (failures - 1)))
            self.reason = f"{self.reason} Given up after {failures} tries."
        finally:
            self._live.holders.discard(self)
            self._change("ended")

    async def _send(self) -> bool:
        """One connection; True where the session ended, False where the line did."""
        child = await start_child("pushing")
        assert child.stdin is not None
        assert child.stdout is not None
        pipe, session, is_over = child.stdin, self._live.session, False
        about = {"url": self._url, "width": session.width, "height": session.height, "metadata": self._metadata}

        async def take(packet: Packet) -> None:
            pipe.write(write_packet(packet))
            await asyncio.wait_for(pipe.drain(), 2 * STUCK_S)

        try:
            pipe.write(json.dumps(about).encode() + b"\n")
            said = (await asyncio.wait_for(child.stdout.readline(), CONNECT_S + 20)).decode(errors="replace").strip()
            if said == "live":
                self.reason = ""
                self._change("live")
                viewer = session.hub.join(KINDS)
                try:
                    await feed(viewer, take)
                finally:
                    self.num_dropped += viewer.num_dropped
                is_over = True
                return True
            self.reason = said or f"It took no connection within {CONNECT_S} s."
        except (OSError, asyncio.TimeoutError):
            self.reason = "The line broke."
        finally:
            await stop_child(child, STUCK_S if is_over else 0.5)
        with contextlib.suppress(asyncio.TimeoutError):
            said = (await asyncio.wait_for(child.stdout.readline(), 0.5)).decode(errors="replace").strip()
            self.reason = said or self.reason
        return False

    def _change(self, state: str) -> None:
        if state != self.state or state == "connecting":
            self.state = state
            self._live.tell("push", self.tell())
