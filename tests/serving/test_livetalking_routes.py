"""LiveTalking's routes, met by a client that sends what its pages send."""

import asyncio
import contextlib
import io
import random
import threading
import time
import wave

import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI
from live_server import Server

from anchor.errors import AnchorError, ConfigError, MediaError
from anchor.serving import livetalking
from anchor.serving.access import Access, Key
from anchor.serving.livetalking_routes import add_livetalking
from anchor.serving.outputs import Outputs
from anchor.serving.uploads import read_form, read_sound

ANN, EVE, VIEW = "a" * 20, "e" * 20, "v" * 20
KEY = {"Authorization": f"Bearer {ANN}"}
TEXT = "**Good evening.** Here is the news of today, read by somebody who does not exist."


def wav(seconds=1.0, rate=16_000):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((8000 * np.sin(np.arange(round(seconds * rate)) / 5)).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def lt_server(tmp_path_factory):
    folder, pages = tmp_path_factory.mktemp("avatars"), tmp_path_factory.mktemp("web")
    (folder / "ann").mkdir()
    (pages / "webrtcapi.html").write_text("<script>fetch('/offer')</script>")
    (pages / "secret.pem").write_text("secret")
    (pages / "link.html").symlink_to("/etc/passwd")
    access = Access(
        {
            ANN: Key("ann", frozenset({"view", "speak", "record"}), 6000),
            EVE: Key("eve", frozenset({"view", "speak", "record"}), 6000),
            VIEW: Key("viewer", frozenset({"view"}), 6000),
        }
    )
    films, hosts = tmp_path_factory.mktemp("films"), ("127.0.0.1:10095",)
    outputs = Outputs(films, livetalking=True, livetalking_pages=pages, livetalking_hosts=hosts)
    running = Server(folder, access, outputs=outputs, max_sessions=2, lease_s=4.0)
    yield running
    running.stop()


class Page:
    """What its pages do: one peer, a sessionid that was taken from the answer, and JSON or forms with it."""

    def __init__(self, url, token=ANN):
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30
        )
        self.peer, self.id = RTCPeerConnection(), None
        self.frames = {"video": [], "audio": []}
        self.readers = []

    async def start(self):
        @self.peer.on("track")
        def on_track(track):
            async def read():
                with contextlib.suppress(MediaStreamError):
                    while True:
                        self.frames[track.kind].append(await track.recv())

            self.readers.append(asyncio.ensure_future(read()))

        self.peer.addTransceiver("video", direction="recvonly")
        self.peer.addTransceiver("audio", direction="recvonly")
        await self.peer.setLocalDescription(await self.peer.createOffer())
        offer = self.peer.localDescription
        answer = await self.post("/offer", {"sdp": offer.sdp, "type": offer.type})
        if "sdp" in answer:
            self.id = answer["sessionid"]
            await self.peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        return answer

    async def post(self, path, about):
        return (await asyncio.to_thread(self.http.post, path, json=about)).json()

    async def stop(self):
        for reader in self.readers:
            reader.cancel()
        await self.peer.close()
        self.http.close()

    def loudest(self, since):
        frames = self.frames["audio"][since:]
        return max((float(np.abs(frame.to_ndarray().astype(int)).max()) for frame in frames), default=0.0)


async def until(condition, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, int])
def test_its_page_watches_speaks_interrupts_records_and_leaves(lt_server, kind):
    """``kind``: newer pages send the sessionid as text, older ones read it as a number first."""

    async def life():
        page = Page(lt_server.url)
        answer = await page.start()
        assert answer["type"] == "answer"
        assert int(answer["sessionid"]) < 2**53, "JavaScript reads it without loss"
        named = {"sessionid": kind(page.id)}
        unnamed = {} if kind is int else named  # webrtcchat.html records without a sessionid
        await until(lambda: len(page.frames["video"]) > 20)
        await asyncio.sleep(6)
        assert lt_server.station.sessions, "a viewer keeps the session, with no events socket and no request"
        assert await page.post("/is_speaking", named) == {"code": 0, "msg": "ok", "data": False}
        assert (await page.post("/record", {"type": "start_record", **unnamed}))["code"] == 0
        said = await page.post("/human", {"text": TEXT, "type": "echo", "interrupt": True, **named})
        assert said == {"code": 0, "msg": "ok", "data": "ok"}
        await until(lambda: page.loudest(-20) > 500)
        for some in (named, {}, {"sessionid": 0}):  # asr/main.js asks for 0, and says without any
            assert (await page.post("/is_speaking", some))["data"] is True
        stranger = await asyncio.to_thread(
            httpx.post, f"{lt_server.url}/is_speaking", json={"sessionid": 0}, headers=KEY
        )
        assert stranger.json() == {"code": -1, "msg": "session not found"}, "another browser of the same key"
        assert (await page.post("/interrupt_talk", named))["code"] == 0
        await until(lambda: page.loudest(-10) < 100)  # what was on its way has come
        heard = len(page.frames["audio"])
        await until(lambda: len(page.frames["audio"]) > heard + 25)
        assert page.loudest(heard) < 100
        assert (await page.post("/set_audiotype", {"audiotype": 2, "reinit": True, **named}))["code"] == 0
        assert (await page.post("/set_audiotype", {"audiotype": 1, **named}))["code"] == 0
        assert (await page.post("/set_audiotype", {"audiotype": 7, **named}))["code"] == -1
        form = {"data": {"sessionid": str(page.id)}, "files": {"file": ("speech.wav", wav(), "audio/wav")}}
        assert (await asyncio.to_thread(page.http.post, "/humanaudio", **form)).json()["code"] == 0
        await until(lambda: page.loudest(-20) > 500)
        assert (await page.post("/record", {"type": "end_record", **unnamed}))["code"] == 0
        film = await asyncio.to_thread(page.http.get, f"/record/{page.id}")
        assert film.content[4:8] == b"ftyp"
        await page.peer.close()
        await until(lambda: not lt_server.station.sessions, 30)
        again = await asyncio.to_thread(page.http.get, f"/record/{page.id}")
        assert again.content == film.content, "its page asks for the film when the session has ended"
        assert await page.post("/is_speaking", named) == {
            "code": -1, "msg": "There is no such session. It may have ended: open another."
        }  # fmt: skip
        await page.stop()

    asyncio.run(asyncio.wait_for(life(), 150))


@pytest.mark.slow
def test_rooms_owners_and_scopes_are_kept(lt_server):
    async def life():
        first, second, third = Page(lt_server.url), Page(lt_server.url), Page(lt_server.url)
        await first.start()
        await second.start()
        refused = await asyncio.to_thread(first.http.post, "/offer", json={"sdp": "v=0", "type": "offer"})
        assert len(lt_server.station.sessions) == 2, refused.text
        assert (refused.status_code, refused.headers["retry-after"], refused.json()["code"]) == (503, "10", -1)
        eve = Page(lt_server.url, EVE)
        named = {"sessionid": first.id}
        for path, about in (
            ("/human", {"type": "echo", "text": "Hello there."}), ("/interrupt_talk", {}), ("/is_speaking", {}),
            ("/record", {"type": "start_record"}), ("/set_audiotype", {"audiotype": 2}),
        ):  # fmt: skip
            assert await eve.post(path, {**named, **about}) == {"code": -1, "msg": "session not found"}, path
        assert (await asyncio.to_thread(eve.http.get, f"/record/{first.id}")).status_code == 404
        viewer = Page(lt_server.url, VIEW)
        assert (await asyncio.to_thread(viewer.http.post, "/offer", json={})).status_code == 403
        nobody = Page(lt_server.url, "")
        assert (await asyncio.to_thread(nobody.http.post, "/offer", json={})).status_code == 401
        for page in (first, second, third, eve, viewer, nobody):
            await page.stop()
        await until(lambda: not lt_server.station.sessions, 30)

    asyncio.run(asyncio.wait_for(life(), 100))


@pytest.mark.slow
def test_its_pages_are_shown_and_nothing_beside_them(lt_server):
    with httpx.Client(base_url=lt_server.url) as http:
        page = http.get("/webrtcapi.html")
        assert page.status_code == 200
        assert "'unsafe-inline'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'self'" in page.headers["content-security-policy"], "one of them holds another"
        reached = page.headers["content-security-policy"].partition("connect-src ")[2]
        assert reached == "'self' http://127.0.0.1:10095 ws://127.0.0.1:10095", "and no further"
        assert "10095" not in http.get("/").headers["content-security-policy"]
        assert "unsafe-inline" not in http.get("/").headers["content-security-policy"]
        for path in ("/secret.pem", "/link.html", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/none.html"):
            assert http.get(path).status_code == 404, path
        assert http.get("/livetalking?token=wrong", follow_redirects=False).status_code == 401
        assert http.post("/is_speaking", json={}).status_code == 401
        entered = http.get(f"/livetalking?token={ANN}", follow_redirects=False)
        assert entered.status_code == 303
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert "samesite=strict" in entered.headers["set-cookie"].lower()
        assert http.post("/is_speaking", json={"sessionid": 1}).json() == {"code": -1, "msg": "session not found"}
        assert (
            http.post("/is_speaking", content='{"sessionid": 1}', headers={"Content-Type": "text/plain"})
            .json()["msg"]
            .startswith("Send JSON")
        ), "what a form of another site can send is not read"
        assert http.post("/human", json=[1]).json()["code"] == -1
        assert http.post("/humanaudio", content=bytes(17 << 20)).status_code == 413
        assert http.post("/humanaudio", content=b"nothing").json()["code"] == -1


@pytest.mark.parametrize("host", ["wss://asr.example.org", "asr.example.org/ws", "a b", "a; script-src *", "*", ""])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ConfigError, match="livetalking_hosts"):
        add_livetalking(FastAPI(), None, Access(), None, None, hosts=("127.0.0.1:10095", host))


def form(fields, boundary=b"--x"):
    lines = [
        b"--%s\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (boundary, name, value)
        for name, value in fields
    ]
    return b"".join(lines) + b"--%s--\r\n" % boundary


def test_a_form_gives_bytes_back_as_they_were():
    data = bytes(range(256)) * 40 + b"\r\n\n\r--x\r\n"
    request = httpx.Request("POST", "http://x/", data={"sessionid": "17"}, files={"file": ("a.wav", data, "audio/wav")})
    fields = read_form(request.headers["content-type"], request.read())
    assert fields == {"sessionid": b"17", "file": data}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x\r\nX: y", b""),
        ("multipart/form-data; boundary=--x", form([(b"a", b"b")] * 9)),
    ],
)
def test_a_form_that_is_none_is_refused(kind, body):
    with pytest.raises(ConfigError):
        read_form(kind, body)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", wav()[:30], b"RIFF" + bytes(1000), b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n", b"ID3" + b"#EXTM3U\n" * 9, b"\xff\xfb" + bytes(99), wav(0),
    ],
)  # fmt: skip
def test_a_file_that_is_no_sound_is_refused(data):
    with pytest.raises(MediaError):
        read_sound(data)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_file_becomes_the_sound_of_a_session(rate):
    sound_L4 = read_sound(wav(1.5, rate))
    assert abs(len(sound_L4) - 24_000) < 40
    assert 0.2 < np.abs(sound_L4).max() < 0.3


def test_damaged_uploads_are_errors_with_a_sentence():
    chance, seed = random.Random(1), wav(0.3)
    for _ in range(20):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(20)] = chance.randrange(256)
        with contextlib.suppress(AnchorError):
            assert np.isfinite(read_sound(bytes(data[: chance.randint(1, len(data))]))).all()


def test_a_form_is_read_beside_the_clocks(lt_server, monkeypatch):
    """16 MB of it take a second and more, in which no session would have a tick."""
    read, threads = livetalking.read_form, []

    def noted(kind, body):
        threads.append(threading.current_thread().name)
        return read(kind, body)

    monkeypatch.setattr(livetalking, "read_form", noted)
    answer = httpx.post(f"{lt_server.url}/humanaudio", content=b"nothing", headers=KEY)
    assert answer.json()["msg"].startswith("Send a form")
    assert [name.startswith("asyncio") for name in threads] == [True]
