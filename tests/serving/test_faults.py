"""What goes wrong on air: the drawing process is killed, clients vanish, are slow, or talk nonsense."""

import asyncio
import json
import os
import signal
import time

import httpx
import pytest
import websockets
from live_avatars import build_coded
from live_browser import Command, wait_for
from live_film import GREY, TEXT, address, mouths, record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    build_coded(folder / "ann")
    running = Command(folder, folder / ".log", logs="json", max_speaking=8, lease_seconds=3)
    yield running
    running.stop()


@pytest.fixture
def http(command):
    with httpx.Client(base_url=command.url, timeout=30) as client:
        yield client


def told(command, event):
    """The lines of one kind."""
    lines = [json.loads(line) for line in command.said.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def opened(http, text=""):
    id = http.post("/api/sessions", json={}).raise_for_status().json()["id"]
    if text:
        http.post(f"/api/sessions/{id}/say", json={"text": text}).raise_for_status()
    return id


def test_a_killed_drawing_process_leaves_idle_pictures_and_a_successor_comes(command, http):
    wait_for(lambda: float(metric(http, "drawing_spare")) == 1, 120)
    id = opened(http, TEXT)
    (pid,) = [line["drawing_pid"] for line in told(command, "on_air")]
    phases = iter(("speak", "killed", "back"))
    phase, since = next(phases), time.monotonic()

    def step():
        nonlocal phase, since
        if phase == "speak" and time.monotonic() - since > 3:
            os.kill(pid, signal.SIGKILL)
            phase, since = next(phases), time.monotonic()
        elif phase == "killed" and told(command, "drawing_back"):
            phase, since = next(phases), time.monotonic()
        return phase == "back" and time.monotonic() - since > 2

    film = asyncio.run(record(command, id, step))
    skipped = http.get(f"/api/sessions/{id}").json()["skipped"]
    ticks, reds = mouths(film)
    (back,) = told(command, "drawing_back")
    (ended,) = told(command, "drawing_ended")
    print(f"the drawing process was back after {back['seconds']} s")
    assert ended["status"] == -signal.SIGKILL
    assert back["pid"] != pid
    assert ticks == sorted(set(ticks))
    assert ticks[-1] - ticks[0] + 1 - len(ticks) <= skipped, "a picture for every tick that the machine had time for"
    drawn = reds > GREY
    assert drawn[: len(drawn) // 2].any()
    assert drawn[-25:].any(), "mouths are drawn again"
    assert http.get("/healthz").status_code == 200
    http.delete(f"/api/sessions/{id}")


def test_clients_that_vanish_are_forgotten(command, http):
    async def vanish():
        id = opened(http)
        async with websockets.connect(address(command, id, "events")) as events:
            await events.recv()
            events.transport.abort()  # no farewell, as a machine that lost its network
        return id

    silent, gone = opened(http), asyncio.run(vanish())
    began = time.monotonic()
    wait_for(lambda: float(metric(http, "sessions")) == 0, 30)
    print(f"both places were free after {time.monotonic() - began:.1f} s")
    assert {http.get(f"/api/sessions/{id}").status_code for id in (silent, gone)} == {404}


def test_a_slow_reader_holds_up_nobody(command, http):
    id = opened(http, TEXT)

    async def both():
        async with websockets.connect(address(command, id, "stream"), max_size=None) as slow:
            slow.transport.pause_reading()
            count, ticks = 0, http.get(f"/api/sessions/{id}").json()["tick"]
            async with websockets.connect(address(command, id, "stream"), max_size=None) as quick:
                while count < 60:
                    count += bool(await asyncio.wait_for(quick.recv(), 20))
            assert http.get(f"/api/sessions/{id}").json()["tick"] > ticks
            slow.transport.abort()

    asyncio.run(both())
    http.delete(f"/api/sessions/{id}")


def test_offers_that_are_none_and_viewers_that_never_come(command, http):
    """A broken SDP is refused with a sentence; a sound one whose sender stays silent leaves no viewer behind."""
    from aiortc import RTCPeerConnection

    id = opened(http)
    for sdp in ("", "v=0", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF\r\n", "\x00" * 200, "a=" * 30_000):
        answer = http.post(f"/api/sessions/{id}/offer", json={"sdp": sdp})
        assert answer.status_code == 400, sdp[:20]
        assert "cannot be answered" in answer.json()["error"]

    async def offer():
        peer = RTCPeerConnection()
        peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        sdp = peer.localDescription.sdp
        await peer.close()  # the answer finds nobody
        return sdp

    sdp = asyncio.run(offer())
    assert http.post(f"/api/sessions/{id}/offer", json={"sdp": sdp}).status_code == 200
    assert http.get(f"/api/sessions/{id}").json()["viewers"] == 1
    wait_for(lambda: http.get(f"/api/sessions/{id}").json()["viewers"] == 0, 40, 0.5)
    http.delete(f"/api/sessions/{id}")


def test_avatars_are_exchanged_on_a_signal(command, http):
    folder = command.avatars
    build_coded(folder / "eve")
    (folder / "wrong").mkdir()
    id = opened(http)
    command.process.send_signal(signal.SIGHUP)

    def reloaded():
        http.get(f"/api/sessions/{id}").raise_for_status()  # its lease goes on, however long it takes
        return told(command, "reloaded")

    line = wait_for(reloaded, 60)[0]
    assert line["added"] == ["eve"]
    assert "wrong" in line["refused"][0]
    assert http.post(f"/api/sessions/{id}/avatar", json={"name": "eve"}).json() == {"avatar": "eve"}
    http.post(f"/api/sessions/{id}/say", json={"text": TEXT}).raise_for_status()
    wait_for(lambda: (state := http.get(f"/api/sessions/{id}").json())["mouths"] > state["late"])
    command.process.terminate()
    assert wait_for(lambda: told(command, "finishing"))
    assert http.post("/api/sessions", json={}).status_code == 503
    assert command.process.wait(60) in (143, -signal.SIGTERM)
    assert told(command, "closed")


def metric(http, name):
    return next(line for line in http.get("/metrics").text.splitlines() if line.startswith(f"anchor_{name} ")).split()[
        1
    ]
