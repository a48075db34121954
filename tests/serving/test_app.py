"""The server as its clients meet it: real sockets, a real drawing process, aiortc as the browser."""

import asyncio
import json
import threading
import time

import httpx
import numpy as np
import pytest
import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription

from anchor.serving.access import Access, Key
from anchor.serving.conversation import MOST_QUESTION
from anchor.serving.director import MOST_TEXT

TEXT = "Good evening. Here is the news of today, read by somebody who does not exist."


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url) as client:
        yield client
        for id in list(server.station.sessions):
            client.delete(f"/api/sessions/{id}")


def opened(http, avatar="ann"):
    answer = http.post("/api/sessions", json={"avatar": avatar})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_a_page_and_its_state(http):
    assert "<video" in http.get("/").text
    assert "RTCPeerConnection" in http.get("/page.js").text
    assert http.get("/page.css").headers["content-type"].startswith("text/css")
    assert http.get("/healthz").json() == {"state": "ok"}
    assert [avatar["name"] for avatar in http.get("/api/avatars").json()] == ["ann", "bob"]
    metrics = http.get("/metrics").text
    for line in ("anchor_drawing_alive 1", "anchor_strained ", 'anchor_loop_late_seconds_bucket{le="0.04"} '):
        assert line in metrics
    assert http.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    "text", ["", "  \n", "😀🎉👍🏽", "<speak><break time='1s'/></speak>", "...!?", "\u200b\u2066\ufeff", "、。"]
)
@pytest.mark.parametrize("route", ["say", "chat"])
def test_what_has_no_word_is_refused_before_it_interrupts_anything(http, server, text, route):
    id = opened(http)
    epoch = server.station.sessions[id].session.timeline.epoch
    answer = http.post(f"/api/sessions/{id}/{route}", json={"text": text, "interrupt": True})
    assert answer.status_code == 400
    assert "no word" in answer.json()["error"]
    assert server.station.sessions[id].session.timeline.epoch == epoch


@pytest.mark.parametrize(("route", "most"), [("say", MOST_TEXT), ("chat", MOST_QUESTION)])
def test_what_is_huge_is_refused(http, route, most):
    address = f"/api/sessions/{opened(http)}/{route}"
    assert http.post(address, json={"text": "a " * most}).status_code == 422
    assert http.post(address, json={"text": "a" * 300_000}).status_code == 413


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("Good day. 今天很好。Привет. こんにちは。", 0),
        ("<speak>Hello <emphasis level='strong'>there</emphasis>.</speak> 🎉", 2),
        ("a" * 3000, 0),
        ("word\x00 with\x07 control\u202e signs", 1),
    ],
)
def test_what_can_be_said_is_said_and_what_is_left_out_is_told(http, server, text, notes):
    id = opened(http)
    live = server.station.sessions[id]
    live.events.clear()
    assert http.post(f"/api/sessions/{id}/say", json={"text": text}).status_code == 202
    told = [event["event"] for event in live.events]
    assert told.count("note") == notes
    deadline = time.monotonic() + 30
    while sum(event["event"] == "sentence" for event in list(live.events)) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not any(event["event"] == "failed" for event in live.events)
    http.post(f"/api/sessions/{id}/interrupt")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/sessions/nobody/say", {"text": "hello"}, 404),
        ("/api/sessions", {"avatar": "zoe"}, 404),
        ("/api/sessions", {"avatar": "../../etc"}, 404),
        ("/api/sessions/{id}/say", {"text": "a" * 10_001}, 422),
        ("/api/sessions/{id}/say", {}, 422),
        ("/api/sessions/{id}/offer", {"sdp": "v=0 nonsense"}, 400),
        ("/api/sessions/{id}/offer", {"sdp": "a" * 65_537}, 422),
        ("/api/sessions/{id}/act", {"name": "dance"}, 404),
        ("/api/sessions/{id}/avatar", {"name": "zoe"}, 404),
    ],
)
def test_bad_requests_get_a_status_and_a_sentence(http, path, body, status):
    answer = http.post(path.replace("{id}", opened(http)), json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()


@pytest.mark.parametrize("sdp", ["", "v=0", "\x00" * 99, "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"])
def test_an_offer_that_is_none_is_told_what_an_offer_is(http, sdp):
    answer = http.post(f"/api/sessions/{opened(http)}/offer", json={"sdp": sdp})
    assert answer.status_code == 400
    assert "asks for a picture and for sound" in answer.json()["error"]


def test_a_request_is_bounded_before_it_is_read(http):
    assert http.post("/api/sessions", content=b" " * 300_000).status_code == 413
    assert http.post("/api/sessions", content=iter([b"{}"])).status_code == 413  # no length


def test_who_is_one_too_many_is_told_to_come_back(http):
    ids = [opened(http) for _ in range(3)]
    answer = http.post("/api/sessions", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    for id in ids[:2]:
        assert http.post(f"/api/sessions/{id}/say", json={"text": TEXT}).status_code == 202
    answer = http.post(f"/api/sessions/{ids[2]}/say", json={"text": TEXT})
    assert answer.status_code == 503
    assert "as many as this machine" in answer.json()["error"]
    http.post(f"/api/sessions/{ids[0]}/interrupt")
    assert http.post(f"/api/sessions/{ids[2]}/say", json={"text": TEXT}).status_code == 202


def test_who_vanishes_leaves_its_place(http, server):
    opened(http)
    deadline = time.monotonic() + 15
    while server.station.sessions:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_browser_sees_and_hears_and_interrupts(http, server):
    async def watch():
        id = opened(http)
        peer = RTCPeerConnection()
        got = {"video": [], "audio": []}

        @peer.on("track")
        def on_track(track):
            async def read():
                while True:
                    got[track.kind].append(await track.recv())

            readers.append(asyncio.ensure_future(read()))

        readers = []
        for kind in ("video", "audio"):
            peer.addTransceiver(kind, direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await asyncio.to_thread(
            http.post, f"/api/sessions/{id}/offer", json={"sdp": peer.localDescription.sdp}
        )
        assert answer.status_code == 200, answer.text
        await peer.setRemoteDescription(RTCSessionDescription(answer.json()["sdp"], "answer"))
        await until(lambda: len(got["video"]) > 10)
        await asyncio.to_thread(http.post, f"/api/sessions/{id}/say", json={"text": TEXT})
        await until(lambda: any(loudness(frame) > 500 for frame in got["audio"][-20:]))
        mouth = got["video"][-1].to_ndarray(format="rgb24")[92:104, 50:78].mean()
        await until(lambda: abs(got["video"][-1].to_ndarray(format="rgb24")[92:104, 50:78].mean() - mouth) > 3)
        dropped = (await asyncio.to_thread(http.post, f"/api/sessions/{id}/interrupt")).json()
        assert dropped["epoch"] == 1
        await until(lambda: max(map(loudness, got["audio"][-10:])) < 100)  # what was on its way has come
        heard = len(got["audio"])
        await until(lambda: len(got["audio"]) > heard + 20)
        assert max(loudness(frame) for frame in got["audio"][heard:]) < 100, "silence after an interruption"
        state = http.get(f"/api/sessions/{id}").json()
        assert state["viewers"] == 1
        for reader in readers:
            reader.cancel()
        await peer.close()

    asyncio.run(asyncio.wait_for(watch(), 60))


def test_the_same_over_a_websocket(http, server):
    async def watch():
        id = opened(http)
        async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sessions/{id}/stream") as film:
            first = await film.recv()
            assert first[4:8] == b"ftyp"
            rest = [await film.recv() for _ in range(8)]
            assert all(piece[4:8] == b"moof" for piece in rest[1:])

    asyncio.run(asyncio.wait_for(watch(), 30))


def test_events_and_streamed_speech(http, server):
    async def talk():
        id = opened(http)
        address = f"{server.url.replace('http', 'ws')}/api/sessions/{id}"
        async with websockets.connect(f"{address}/events") as events, websockets.connect(f"{address}/speech") as speech:
            await speech.send(json.dumps({"rate": 16000}))
            noise = np.random.default_rng(0).normal(0, 3000, 320).astype("<i2").tobytes()
            for _ in range(40):
                await speech.send(noise)
                await asyncio.sleep(0.01)
            await speech.send(json.dumps({"end": True}))
            seen = []
            while "silent" not in seen:
                seen.append(json.loads(await events.recv())["event"])
            assert seen.index("speaking") < seen.index("silent")

    asyncio.run(asyncio.wait_for(talk(), 30))


@pytest.mark.parametrize("message", ["no json", "[]", '{"rate": "16000"}', '{"rate": 3}', b"\x00\x00", b"\x00"])
def test_speech_that_is_none_closes_the_line_with_a_reason(http, server, message):
    async def talk():
        id = opened(http)
        async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sessions/{id}/speech") as speech:
            await speech.send(message)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await speech.recv()
            assert closed.value.rcvd.code == 4400
            assert closed.value.rcvd.reason

    asyncio.run(asyncio.wait_for(talk(), 30))


def test_another_role_in_the_middle_of_a_session(http, server):
    id = opened(http)
    assert http.post(f"/api/sessions/{id}/avatar", json={"name": "bob"}).json() == {"avatar": "bob"}
    assert http.get(f"/api/sessions/{id}").json()["avatar"] == "bob"
    assert http.post(f"/api/sessions/{id}/act", json={"name": "wave"}).status_code == 200


def test_a_session_whose_clock_stops_is_ended_and_the_others_go_on(http, server):
    broken, whole = opened(http), opened(http)
    live = server.station.sessions[broken]
    live.session.taps.add(lambda sound_L4: 1 / 0)
    while broken in server.station.sessions:
        http.get(f"/api/sessions/{whole}").raise_for_status()
        time.sleep(0.05)
    assert {"reason": "Its clock stopped: ZeroDivisionError: division by zero."}.items() <= live.events[-2].items()
    while whole in server.station.sessions:  # nobody watches it any more: leases still end
        time.sleep(0.05)


def test_a_session_whose_end_takes_its_time_holds_up_no_other_lease(http, server):
    slow, other = opened(http), opened(http)
    is_done = threading.Event()

    async def close():
        while not is_done.is_set():
            await asyncio.sleep(0.02)

    server.station.sessions[slow].closers.add(close)
    try:
        while other in server.station.sessions:
            time.sleep(0.05)
        assert slow not in server.station.sessions
    finally:
        is_done.set()


def test_avatars_are_taken_in_without_a_restart(http, server):
    (server.folder / "eve").mkdir()
    try:
        assert http.post("/api/reload").json()["added"] == ["eve"]
        assert [avatar["name"] for avatar in http.get("/api/avatars").json()] == ["ann", "bob", "eve"]
        assert 'limit{avatar="eve"} 2' in http.get("/metrics").text
    finally:
        (server.folder / "eve").rmdir()
    assert http.post("/api/reload").json()["removed"] == ["eve"]
    assert http.post("/api/sessions", json={"avatar": "eve"}).status_code == 404


def test_keys_have_scopes_and_rates():
    key = Key("studio", frozenset({"view"}), per_minute=3)
    access = Access({"a" * 20: key})
    assert access.find("a" * 20) is key
    assert access.find("b" * 20) is None
    assert access.find("") is None
    assert key.may("view")
    assert not key.may("speak")
    for _ in range(3):
        key.spend(now=100.0)
    with pytest.raises(Exception, match="Too many requests"):
        key.spend(now=100.0)
    key.spend(now=121.0)


def loudness(frame) -> float:
    return float(np.abs(frame.to_ndarray().astype(np.int32)).max())


async def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
