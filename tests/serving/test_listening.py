"""A microphone that a session listens to: speech made here goes in, a stand-in hears it, another answers it."""

import asyncio
import json
import time

import httpx
import numpy as np
import pytest
import websockets
from live_server import Server
from talk_servers import TalkServer

from anchor.serving.conversation import Minds
from anchor.serving.language_model import LanguageModel
from anchor.serving.serve import serve
from anchor.speech.espeak import ESPEAK_RATE, speak

pytestmark = pytest.mark.slow  # sound at nearly the speed of life

CHAT = "/v1/chat/completions"


class Hearer:
    """In the place of a recogniser: hears the same words in everything, or what it is told to."""

    name = "stand-in"

    def __init__(self) -> None:
        self.heard, self.words = [], "How is the weather?"

    def hear(self, samples):
        self.heard.append(samples)
        if self.words is None:
            raise RuntimeError("out of memory")
        return self.words


@pytest.fixture(scope="module")
def talk():
    running = TalkServer()
    running.words = ["Well, ", "let me see what I know about that. "] * 6
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hearer():
    return Hearer()


@pytest.fixture(scope="module")
def listening_server(tmp_path_factory, talk, hearer):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    minds = Minds(LanguageModel(f"{talk.url}/v1", "small"), hearer)
    running = Server(folder, minds=minds, max_sessions=3)
    yield running
    running.stop()


@pytest.fixture
def http(listening_server, hearer):
    hearer.heard.clear()
    hearer.words = "How is the weather?"
    with httpx.Client(base_url=listening_server.url) as client:
        yield client
        for id in list(listening_server.station.sessions):
            client.delete(f"/api/sessions/{id}")


def pieces(samples):
    size = ESPEAK_RATE // 50
    data = np.clip(32767 * samples, -32768, 32767).astype("<i2")
    return [data[begin : begin + size].tobytes() for begin in range(0, len(data), size)]


def spoken(text="Good evening, how is the weather tomorrow?"):
    return pieces(0.8 * speak(text).samples)


def silence(seconds):
    return pieces(np.random.default_rng(0).normal(0, 0.001, round(seconds * ESPEAK_RATE)))


def converse(http, server, work):
    async def run():
        id = http.post("/api/sessions", json={}).json()["id"]
        async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sessions/{id}/microphone") as line:
            await line.send(json.dumps({"rate": ESPEAK_RATE}))

            async def say(*parts):
                for part in parts:
                    for piece in part:
                        await line.send(piece)
                        await asyncio.sleep(0.005)

            await work(server.station.sessions[id], say)

    asyncio.run(asyncio.wait_for(run(), 60))


async def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def names(live):
    return [event["event"] for event in list(live.events)]


def test_speech_is_recognised_asked_and_answered_and_speech_interrupts_it(http, listening_server, talk, hearer):
    async def work(live, say):
        await say(silence(0.5), spoken(), silence(0.9))
        await until(lambda: live.session.timeline.is_speaking)
        told = names(live)
        assert told.index("listening") < told.index("heard") < told.index("asked") < told.index("sentence")
        assert 1.5 < len(hearer.heard[0]) / 16_000 < 4.5
        assert talk.requests[-1][2]["messages"][-1] == {"role": "user", "content": "How is the weather?"}
        # Into the middle of the answer: silent before the interruption's sentence is over.
        await until(lambda: live.session.tick > 0 and "speaking" in names(live))
        speech = spoken("Stop it, please, and listen to me!")
        assert "interrupted" not in names(live)
        await say(silence(1.2), speech)
        await until(lambda: "interrupted" in names(live), 5)
        assert not live.session.timeline.is_speaking
        await say(silence(0.9))
        await until(lambda: names(live).count("heard") == 2)
        await until(lambda: names(live).count("asked") == 2)

    converse(http, listening_server, work)


def test_noise_interrupts_nothing(http, listening_server):
    async def work(live, say):
        live.director.say("Here is a long sentence that goes on for quite a while, and nobody wants to stop it.")
        await until(lambda: live.session.timeline.is_speaking)
        noise = pieces(np.random.default_rng(1).normal(0, 0.05, ESPEAK_RATE))
        await say(silence(0.3), noise)
        assert not {"listening", "interrupted"} & set(names(live))

    converse(http, listening_server, work)


@pytest.mark.parametrize("words", ["", "...", None])
def test_a_session_goes_on_where_nothing_was_understood(http, listening_server, hearer, words):
    async def work(live, say):
        hearer.words = words
        await say(silence(0.4), spoken("Hello there."), silence(0.9))
        await until(lambda: {"heard", "failed"} & set(names(live)))
        hearer.words = "And now?"
        await say(spoken("Hello there."), silence(0.9))
        await until(lambda: "asked" in names(live))
        assert names(live).count("asked") == 1
        reasons = [event["reason"] for event in live.events if event["event"] == "failed"]
        assert reasons == (
            [] if words is not None else ["The recogniser stand-in failed: RuntimeError: out of memory."]
        )

    converse(http, listening_server, work)


@pytest.mark.parametrize("message", ["no json", '{"rate": 3}', b"\x00\x00", b"\x00"])
def test_sound_that_is_none_closes_the_line_with_a_reason(http, listening_server, message):
    async def talk_nonsense():
        id = http.post("/api/sessions", json={}).json()["id"]
        url = f"{listening_server.url.replace('http', 'ws')}/api/sessions/{id}/microphone"
        async with websockets.connect(url) as line:
            await line.send(message)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await line.recv()
        assert closed.value.rcvd.code == 4400
        assert closed.value.rcvd.reason
        assert not listening_server.station.sessions[id].session.taps, "nobody listens any more"

    asyncio.run(asyncio.wait_for(talk_nonsense(), 30))


@pytest.mark.parametrize(
    ("asr", "words"),
    [("vosk:x", "no recogniser of kind"), ("whisper:/nowhere", "is no folder"), ("x", "no recogniser")],
)
def test_a_recogniser_that_is_none_is_refused_before_anything_begins(tmp_path, asr, words):
    with pytest.raises(ValueError, match=words):
        serve(avatars=tmp_path, device="cpu", asr=asr)
