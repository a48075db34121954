"""The film over a WebSocket: whose line is full, and who alone watches."""

import asyncio
import io
import json
import time
from types import SimpleNamespace

import av
import httpx
import numpy as np
import websockets

from anchor.serving import hub
from anchor.serving.avatar import Action, Walk
from anchor.serving.session import Session
from anchor.serving.streams import send_film


class FullLine:
    """In the place of a WebSocket: takes nothing until it is opened."""

    def __init__(self):
        self.pieces, self.is_open = [], asyncio.Event()

    async def send_bytes(self, data):
        await self.is_open.wait()
        self.pieces.append(data)

    async def receive_text(self):
        await asyncio.Event().wait()


def test_a_film_that_nobody_takes_does_not_pile_up_and_goes_on_at_a_key_frame(pictures, workers, run, monkeypatch):
    monkeypatch.setattr(hub, "MOST_BEHIND", 6)

    async def life():
        walk = Walk(Action("idle", 0, len(pictures), "back_and_forth"))
        session = Session(1, "ann", pictures, walk, lambda request: True, workers)
        session.start()
        line = FullLine()
        sending = asyncio.ensure_future(send_film(line, SimpleNamespace(session=session)))
        while not session.hub.num_viewers:
            await asyncio.sleep(0.01)
        (joined,) = session.hub.heard
        while session.hub.num_dropped < 12:
            await asyncio.sleep(0.02)
        assert session.hub.heard == [joined], "no sign of life while nothing is taken"
        line.is_open.set()
        while len(line.pieces) < 15:
            await asyncio.sleep(0.02)
        assert session.hub.heard[0] > joined
        sending.cancel()
        await asyncio.wait([sending])
        assert not session.hub.num_viewers
        await session.close()
        with av.open(io.BytesIO(b"".join(line.pieces))) as film:
            times = [frame.time for frame in film.decode(video=0)]
        gaps = np.diff(times)
        assert len(times) > 10
        assert gaps.max() > 0.1, "what was not taken is left out"
        assert gaps.min() > 0.03

    run(life())


def test_who_watches_the_film_alone_keeps_the_session(server):
    """Also after a page that said that it lived has left; and the session ends when the film is no longer read."""
    with httpx.Client(base_url=server.url) as http:
        id = http.post("/api/sessions", json={}).json()["id"]

    async def watch():
        address = f"{server.url.replace('http', 'ws')}/api/sessions/{id}"
        async with websockets.connect(f"{address}/events") as events:
            await events.send(json.dumps({"rate": 25}))
            await events.recv()
        async with websockets.connect(f"{address}/stream") as film:
            until = time.monotonic() + server.station.settings.lease_s + 2.5
            while time.monotonic() < until:
                assert await film.recv()
            assert id in server.station.sessions
        while id in server.station.sessions:
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(watch(), 30))
