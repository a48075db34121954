"""One session's packets to everybody who watches it: viewers, files, other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from anchor.serving.encoding import Kind, Packet

__all__ = ["Hub", "Viewer"]

# Packets of a kind that a slow reader may be behind, 4 s of pictures; then it begins again at a key frame.
MOST_BEHIND = 100


class Viewer:
    """What one reader has not read yet. Iterate over it: it ends when the session does."""

    def __init__(self, hub: Hub, kinds: frozenset[Kind]) -> None:
        self._hub, self.kinds = hub, kinds
        self._queues: dict[Kind, asyncio.Queue[Packet | None]] = {kind: asyncio.Queue() for kind in kinds}
        self._is_waiting_for_key = True
        self.num_dropped = 0
        self.heard = 0.0  # s, as time.monotonic counts: the last sign of life of one who watches

    async def get(self, kind: Kind) -> Packet | None:
        """The next packet of a kind; None at the end."""
        return await self._queues[kind].get()

    def put(self, packet: Packet) -> None:
        """Take a packet, unless the reader is too slow for it."""
        if packet.kind not in self._queues:
            return
        queue = self._queues[packet.kind]
        if packet.kind == "h264":
            if queue.qsize() > MOST_BEHIND:
                self._drop(queue)
                self._is_waiting_for_key = True
                self._hub.want_key()
            if self._is_waiting_for_key and not packet.is_key:
                return
            self._is_waiting_for_key = False
        elif queue.qsize() > MOST_BEHIND:
            self._drop(queue)
        queue.put_nowait(packet)

    def end(self) -> None:
        """There is no more."""
        for queue in self._queues.values():
            queue.put_nowait(None)

    def close(self) -> None:
        """Read no more."""
        self._hub.leave(self)
        self.end()

    def _drop(self, queue: asyncio.Queue[Packet | None]) -> None:
        count = queue.qsize()
        while not queue.empty():
            queue.get_nowait()
        self.num_dropped += count
        self._hub.num_dropped += count


class Hub:
    """Who watches. Everything here is called in the event loop."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._wants_key = False
        self.num_dropped = 0  # packets, for all who were too slow

    @property
    def num_viewers(self) -> int:
        """Readers of any kind."""
        return len(self._viewers)

    @property
    def heard(self) -> list[float]:
        """The last sign of life of each reader: 0 of one that gives none, as a file."""
        return [viewer.heard for viewer in self._viewers]

    @property
    def kinds(self) -> frozenset[Kind]:
        """What is to be encoded: nothing, where nobody watches."""
        return frozenset().union(*(viewer.kinds for viewer in self._viewers))

    def join(self, kinds: Iterable[Kind]) -> Viewer:
        """A new reader; its pictures begin with a key frame, which is asked for."""
        viewer = Viewer(self, frozenset(kinds))
        self._viewers.add(viewer)
        self.want_key()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a reader."""
        self._viewers.discard(viewer)

    def want_key(self) -> None:
        """Have the next picture encoded on its own."""
        self._wants_key = True

    def take_key_wish(self) -> bool:
        """Whether somebody wants a key frame; asking takes the wish."""
        wish, self._wants_key = self._wants_key, False
        return wish

    def publish(self, packets: Iterable[Packet]) -> None:
        """To everybody."""
        for packet in packets:
            for viewer in tuple(self._viewers):
                viewer.put(packet)

    def close(self) -> None:
        """Everybody's end."""
        for viewer in tuple(self._viewers):
            viewer.close()
