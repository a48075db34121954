"""The server: bodies and frames over real sockets, offers, and streamed speech as its reader meets it."""

import asyncio
import json
import types

import httpx
import pytest
from fuzzing import HOSTILE, changed, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st
from live_server import Server

from anchor.errors import AnchorError
from anchor.serving.hub import Hub
from anchor.serving.incoming import hear
from anchor.serving.timeline import Timeline
from anchor.serving.webrtc import answer_offer

ROUTES = ("", "/{id}/say", "/{id}/offer", "/{id}/act", "/{id}/avatar", "/{id}/interrupt", "/{id}/chat", "/{id}/nothing")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    running = Server(folder, max_sessions=2, max_speaking=1, lease_s=3600.0)
    yield running
    running.stop()


def test_rest(watch, server):
    # A connection an input: one that idles while hypothesis thinks is closed by the server, rightly.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=server.url, timeout=60, limits=limits) as http:
        id = http.post("/api/sessions", json={"avatar": "ann"}).json()["id"]
        body = {"text": "Good evening.", "interrupt": True, "name": "wave", "sdp": "v=0", "avatar": "ann"}
        names = st.one_of(
            st.just(id), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
        )

        def ask(route, name, data, kind):
            path = "/api/sessions" + route.format(id=name.replace("?", "").replace("#", "") or "x")
            answer = http.post(path, content=data, headers={"Content-Type": kind})
            assert answer.status_code < 500 or answer.status_code == 503, (path, data[:200], answer.text[:200])
            assert answer.status_code != 503 or "error" in answer.json()
            if route == "" and answer.status_code == 201:
                http.delete(f"/api/sessions/{answer.json()['id']}")
            if answer.status_code >= 400:
                raise AnchorError(answer.text[:300])

        @fuzzed(0.5)  # two inputs each
        @given(
            st.sampled_from(ROUTES), names, changed(body), mutated(json.dumps(body).encode(), b"[" * 9000),
            st.sampled_from(["application/json", "text/plain", "application/json; charset=utf-7", "a/b"]),
        )  # fmt: skip
        def run(route, name, tree, data, kind):
            watch(ask, route, name, json.dumps(tree).encode(), "application/json")
            watch(ask, route, name, data, kind)

        run()
        assert http.get("/healthz").json() == {"state": "ok"}
        assert http.get(f"/api/sessions/{id}").status_code == 200
        http.delete(f"/api/sessions/{id}")


class Socket:
    """A WebSocket whose client has said ``messages`` and gone."""

    def __init__(self, messages):
        self._messages = iter(messages)

    async def receive(self):
        return next(self._messages, {"type": "websocket.disconnect"})

    async def send_json(self, content):
        json.dumps(content)


FRAMES = st.one_of(
    st.just({"type": "websocket.receive", "text": '{"rate": 16000}'}),
    st.sampled_from(HOSTILE).map(lambda value: {"type": "websocket.receive", "text": json.dumps({"rate": value})}),
    st.sampled_from(HOSTILE).map(lambda value: {"type": "websocket.receive", "text": json.dumps({"end": value})}),
    mutated(b'{"rate": 48000}', b"[" * 50_000).map(
        lambda data: {"type": "websocket.receive", "text": data.decode("utf-8", "replace")}
    ),
    st.binary(max_size=3000).map(lambda data: {"type": "websocket.receive", "bytes": data}),
    st.sampled_from([0, 1, 2, 65_536, 65_538]).map(lambda size: {"type": "websocket.receive", "bytes": b"\x10" * size}),
)  # fmt: skip


def test_speech_frames(watch):
    from fastapi import WebSocketDisconnect

    def listen(messages):
        timeline = Timeline()
        live = types.SimpleNamespace(session=types.SimpleNamespace(timeline=timeline), touch=lambda: None)
        station = types.SimpleNamespace(door=types.SimpleNamespace(admit=lambda live: None))
        with pytest.raises(WebSocketDisconnect):
            asyncio.run(hear(station, Socket(messages), live))
        assert timeline.waiting_s < 60

    @fuzzed()
    @given(st.lists(FRAMES, max_size=8))
    def run(messages):
        watch(listen, messages)

    run()


def test_offer(watch, monkeypatch):
    """aiortc reads the offer; one that it cannot answer leaves no viewer behind."""
    from aiortc import RTCCertificate, RTCPeerConnection

    certificate = RTCCertificate.generateCertificate()  # one for all, for each would take longer than its offer
    monkeypatch.setattr(RTCCertificate, "generateCertificate", lambda: certificate)

    async def make():
        peer = RTCPeerConnection()
        peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        text = peer.localDescription.sdp
        await peer.close()
        return text

    seed = asyncio.run(make()).encode()

    async def answer(text):
        hub = Hub()
        try:
            peer, _ = await answer_offer(hub, text)
            await peer.close()
        finally:
            for viewer in tuple(getattr(hub, "_viewers", ())):
                viewer.close()

    @fuzzed()
    @given(mutated(seed, seed[:900], seed.replace(b"H264", b"VP8")))
    def run(data):
        watch(lambda: asyncio.run(answer(data.decode("utf-8", "replace"))))

    run()
