"""RTMP and HLS by routes: ffmpeg receives, ffprobe reads; who is slow or gone holds nobody up."""

import itertools
import json
import socket
import subprocess
import time

import httpx
import pytest
from live_server import Server

from anchor.errors import ConfigError
from anchor.serving.access import Access, Key
from anchor.serving.outputs import Outputs
from anchor.serving.push import check_address

TEXT = "Good evening. Here is the news of today, read by somebody who does not exist."
ANN, EVE = "a" * 20, "e" * 20


@pytest.fixture(scope="module")
def out_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    access = Access(
        {
            ANN: Key("ann", frozenset({"view", "speak", "record"}), 6000),
            EVE: Key("eve", frozenset({"view", "speak"}), 6000),
        }
    )
    outputs = Outputs(tmp_path_factory.mktemp("films"), push_hosts=("localhost",))
    running = Server(folder, access, outputs=outputs, lease_s=30)
    yield running
    running.stop()


@pytest.fixture
def http(out_server):
    with httpx.Client(
        base_url=out_server.url, headers={"Authorization": f"Bearer {ANN}"}, timeout=30, follow_redirects=False
    ) as client:
        yield client
        for id in list(out_server.station.sessions):
            client.delete(f"/api/sessions/{id}")


@pytest.fixture
def session(http):
    return http.post("/api/sessions", json={"avatar": "ann"}).json()["id"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def probe(path, *options):
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-show_format", "-of", "json", *options]
    told = json.loads(subprocess.run([*command, str(path)], capture_output=True, check=True, timeout=60).stdout)
    return {stream["codec_name"]: stream for stream in told["streams"]}, told


def times(told, kind):
    return [float(packet["pts_time"]) for packet in told["packets"] if packet["codec_type"] == kind]


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("url", "hosts", "where"),
    [
        ("rtmp://live.example.org/app/key", ["live.example.org"], "live.example.org:1935"),
        ("rtmp://LIVE.example.org:1935/app/key?sign=a%20b&x=1", ["Live.Example.Org"], "live.example.org:1935"),
        ("rtmp://10.0.0.5:1999/app/key", ["10.0.0.5:1999"], "10.0.0.5:1999"),
        ("rtmps://live.example.org/app/key", ["live.example.org"], "live.example.org:443"),
    ],
)
def test_addresses_that_the_operator_named(url, hosts, where):
    assert check_address(url, hosts) == where


@pytest.mark.parametrize(
    "url",
    [
        "rtmp://127.0.0.1/app/key", "rtmp://localhost/app/key", "rtmp://live.example.org.evil.net/app/key",
        "rtmp://live.example.org@evil.net/app/key", "rtmp://evil.net/live.example.org", "rtmp://live.example.org:22/a",
        "http://live.example.org/app/key", "file:///etc/passwd", "rtmp:live.example.org/app", "rtmp://", "",
        "rtmp://live.example.org", "rtmp://live.example.org/app key=1", "rtmp://live.example.org/app\nkey",
        "rtmp://live.example.org/app/key live=1 tcUrl=rtmp://evil.net/", "rtmp://live.example.org/\\evil.net/a",
        "rtmp://[::1]/app/key", "rtmp://live.example.org:99999/app", "RTMP://live.example.org /a", "rtmp://2130706433/a",
        "rtmp://live.example.org/a#b", "concat:rtmp://live.example.org/a", "rtmp://live.example.org\t.evil.net/a",
        "rtmp://live.example.org?@evil.net/a", "rtmp://live.example.org#@evil.net/a",
    ],
)  # fmt: skip
def test_addresses_that_lead_elsewhere_are_refused(url):
    with pytest.raises(ConfigError, match=r"url|servers"):
        check_address(url, ["live.example.org"])


@pytest.mark.slow
def test_ways_out_ask_for_a_scope_and_an_owner(http, session):
    eve = {"Authorization": f"Bearer {EVE}"}
    for method, path, body in (
        ("POST", "recording", None), ("DELETE", "recording", None),
        ("POST", "push", {"url": "rtmp://localhost/a/b"}), ("DELETE", "push/1", None),
    ):  # fmt: skip
        answer = http.request(method, f"/api/sessions/{session}/{path}", json=body, headers=eve)
        assert answer.status_code == 403, path
    assert http.post(f"/api/sessions/{session}/hls", headers=eve).status_code == 404, "another's session"
    assert http.get(f"/api/sessions/{session}/hls/index.m3u8", headers={"Authorization": ""}).status_code == 401
    assert http.get("/hls/nobody/index.m3u8").status_code == 404
    assert http.get("/api/recordings/..%2F..%2Fetc%2Fpasswd").status_code == 404
    assert http.get("/api/recordings/nothing.mp4").status_code == 404
    assert http.delete(f"/api/sessions/{session}/recording").status_code == 404
    answer = http.post(f"/api/sessions/{session}/push", json={"url": "rtmp://10.0.0.1/live/x"})
    assert answer.status_code == 400
    assert "not one of the servers" in answer.json()["error"]


@pytest.mark.slow
def test_a_recording_by_route(http, session, tmp_path):
    begun = http.post(f"/api/sessions/{session}/recording")
    assert begun.status_code == 201, begun.text
    http.post(f"/api/sessions/{session}/say", json={"text": TEXT})
    until(lambda: http.get(f"/api/sessions/{session}/recording").json()["seconds"] > 2)
    assert http.get(f"/api/sessions/{session}").json()["recording"]["state"] == "recording"
    assert http.get(f"/api/recordings/{begun.json()['name']}").status_code == 404, "not finished"
    ended = http.delete(f"/api/sessions/{session}/recording").json()
    assert ended["state"] == "finished"
    film = http.get(f"/api/recordings/{ended['name']}")
    assert film.status_code == 200
    assert len(film.content) == ended["bytes"]
    assert http.get(f"/api/recordings/{ended['name']}", headers={"Authorization": f"Bearer {EVE}"}).status_code == 403
    (tmp_path / "film.mp4").write_bytes(film.content)
    streams, told = probe(tmp_path / "film.mp4")
    assert set(streams) == {"h264", "aac"}
    assert "synthetic media" in told["format"]["tags"]["comment"]


@pytest.mark.slow
def test_hls_is_read_by_ffprobe_and_ends_with_the_session(http, session, out_server):
    http.post(f"/api/sessions/{session}/say", json={"text": TEXT})
    url = http.post(f"/api/sessions/{session}/hls").json()["url"]
    playlist = http.get(url, headers={"Authorization": ""})
    assert playlist.status_code == 200, playlist.text
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    for _ in range(5):  # viewers that ask for key frames make no small pieces
        out_server.station.sessions[session].session.hub.want_key()
        time.sleep(0.3)
    until(lambda: http.get(url).text.count("#EXTINF") >= 3)
    lines = http.get(url).text.splitlines()
    lengths = [float(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF")]
    assert all(2 <= length <= 4 for length in lengths)
    streams, told = probe(out_server.url + url, "-read_intervals", "%+6")
    assert set(streams) == {"h264", "aac"}
    pictures = times(told, "video")
    steps = [b - a for a, b in itertools.pairwise(pictures)]
    assert len(pictures) > 40
    assert all(0.03 < step < 0.05 for step in steps), "pieces join"
    assert b"synthetic media" in http.get(url.replace("index.m3u8", "init.mp4")).content
    by_token = http.get(f"/api/sessions/{session}/hls/index.m3u8").text
    assert url.rsplit("/", 1)[0] in by_token, "the same pieces"
    assert http.get(url.replace("index.m3u8", "99999.m4s")).status_code == 404
    http.delete(f"/api/sessions/{session}")
    until(lambda: http.get(url).status_code == 404)


def receiver(port, path):
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-listen",
        "1",
        "-i",
        f"rtmp://127.0.0.1:{port}/live/key",
        "-c",
        "copy",
        "-flush_packets",
        "1",
    ]
    return subprocess.Popen([*command, str(path)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_rtmp_arrives_and_comes_again_after_the_receiver_died(http, session, tmp_path, allowed_port):
    first = receiver(allowed_port, tmp_path / "first.flv")
    time.sleep(1)
    answer = http.post(f"/api/sessions/{session}/push", json={"url": f"rtmp://localhost:{allowed_port}/live/key"})
    assert answer.status_code == 202, answer.text
    state = lambda: http.get(f"/api/sessions/{session}").json()["pushes"][-1]  # noqa: E731
    http.post(f"/api/sessions/{session}/say", json={"text": TEXT})
    until(lambda: state()["state"] == "live")
    until(lambda: (tmp_path / "first.flv").exists() and (tmp_path / "first.flv").stat().st_size > 5_000)
    first.kill()
    first.wait()
    until(lambda: state()["state"] in ("waiting", "connecting"))
    assert "key" not in json.dumps(state()), "the path of an address is a secret"
    second = receiver(allowed_port, tmp_path / "second.flv")
    until(lambda: state()["state"] == "live")
    until(lambda: (tmp_path / "second.flv").exists() and (tmp_path / "second.flv").stat().st_size > 5_000)
    assert http.delete(f"/api/sessions/{session}/push/1").json()["state"] == "ended"
    second.wait(20)
    streams, told = probe(tmp_path / "second.flv")
    assert set(streams) == {"h264", "aac"}
    assert streams["h264"]["width"] == 128
    pictures, sounds = times(told, "video"), times(told, "audio")
    assert len(pictures) > 20
    assert pictures[0] < 0.1
    assert max(b - a for a, b in itertools.pairwise(pictures)) < 0.1
    assert abs(pictures[-1] - sounds[-1]) < 0.5


@pytest.fixture
def allowed_port(out_server):
    """A free port that may be pushed to: the operator's word for this test."""
    port = free_port()
    ways = out_server.ways
    before, ways.outputs = ways.outputs, Outputs(push_hosts=(f"localhost:{port}",))
    yield port
    ways.outputs = before


@pytest.mark.slow
def test_a_receiver_that_takes_nothing_holds_nobody_up(http, session, out_server, allowed_port):
    """It accepts and never reads: PyAV in the server's own process would stop all clocks here."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", allowed_port))
        deaf.listen()
        http.post(f"/api/sessions/{session}/push", json={"url": f"rtmp://localhost:{allowed_port}/live/key"})
        live = out_server.station.sessions[session].session
        ticks = live.tick
        time.sleep(3)
        assert http.get("/healthz").status_code == 200
        assert live.tick - ticks > 20, "in 3 s: a clock that was stopped has none"
        state = http.get(f"/api/sessions/{session}").json()["pushes"][0]
        assert state["state"] == "connecting"
    http.delete(f"/api/sessions/{session}").raise_for_status()
    assert session not in out_server.station.sessions
