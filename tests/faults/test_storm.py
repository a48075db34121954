"""A storm of clients that come, take, talk nonsense and vanish, and a drawing process killed in the middle of it."""

import asyncio
import json
import os
import random
import signal
import time

import httpx
import pytest
import websockets
from live_server import Server

STORM_S = 6.0
CLIENTS = 30


async def behave_badly(server, chance, until, statuses):
    """One client after another until the time is over."""
    address = f"{server.url.replace('http', 'ws')}/api/sessions"
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        while time.monotonic() < until:
            kind = chance.randrange(5)
            if kind == 0:  # takes a place and never comes back
                answer = await client.post("/api/sessions", json={"avatar": "ann"})
                statuses.append(answer.status_code)
            elif kind == 1:  # half a request
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"POST /api/sessions HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
                await writer.drain()
                writer.close()
            elif kind == 2:  # noise
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(chance.randbytes(2000))
                writer.close()
            elif kind == 3:  # takes a place, watches, and is gone without a word
                answer = await client.post("/api/sessions", json={"avatar": "bob"})
                statuses.append(answer.status_code)
                if answer.status_code == 201:
                    film = await websockets.connect(f"{address}/{answer.json()['id']}/stream")
                    await film.recv()
                    film.transport.abort()
            else:
                answer = await client.post("/api/sessions", content=json.dumps({"avatar": "x" * 300_000}))
                assert answer.status_code == 413
            await asyncio.sleep(chance.uniform(0, 0.1))


@pytest.mark.slow
def test_a_storm_of_clients_and_a_killed_drawer_cost_those_inside_nothing(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
    server = Server(tmp_path, max_sessions=3, max_speaking=2, lease_s=2.0)
    chance = random.Random(8)
    statuses = []

    async def live():
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            id = (await client.post("/api/sessions", json={"avatar": "ann"})).json()["id"]
            files = len(os.listdir("/proc/self/fd"))
            pieces, events = [], []
            address = f"{server.url.replace('http', 'ws')}/api/sessions/{id}"  # as the page does: events keep a session
            async with websockets.connect(f"{address}/stream") as film, websockets.connect(f"{address}/events") as told:

                async def listen():
                    async for event in told:
                        events.append(json.loads(event)["event"])

                async def watch():
                    async for piece in film:
                        pieces.append(piece)

                watching, listening = asyncio.create_task(watch()), asyncio.create_task(listen())
                until = time.monotonic() + STORM_S
                storm = [behave_badly(server, random.Random(chance.random()), until, statuses) for _ in range(CLIENTS)]
                storm = asyncio.gather(*storm)
                await asyncio.sleep(STORM_S / 2)
                before = server.station.drawer.pid
                os.kill(before, signal.SIGKILL)
                await storm
                is_lost = watching.done() or listening.done()
                assert not is_lost, ("who was inside has lost its place", events)
                count = len(pieces)
                deadline = time.monotonic() + 60
                while len(pieces) < count + 25 or len(server.station.sessions) > 1:
                    assert time.monotonic() < deadline, (len(pieces) - count, len(server.station.sessions))
                    assert not watching.done()
                    await asyncio.sleep(0.1)
                assert list(server.station.sessions) == [id]
                deadline = time.monotonic() + 60
                while server.station.drawer.pid == before or not server.station.drawer.is_alive:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
                answer = await client.post("/api/sessions", json={"avatar": "bob"})
                assert answer.status_code == 201, answer.text
                await client.delete(f"/api/sessions/{answer.json()['id']}")
                watching.cancel()
                listening.cancel()
            deadline = time.monotonic() + 30
            while len(os.listdir("/proc/self/fd")) > files + 12:  # connections of this test that close are files too
                assert time.monotonic() < deadline, "files stay open"
                await asyncio.sleep(0.1)

    try:
        asyncio.run(asyncio.wait_for(live(), 240))
    finally:
        server.stop()
    assert 201 in statuses
    assert 503 in statuses
    assert set(statuses) <= {201, 503}
