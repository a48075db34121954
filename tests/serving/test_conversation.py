"""Questions to a language model, met as a stand-in of OpenAI's chat route that misbehaves as told."""

import asyncio
import json
import logging
import time

import httpx
import pytest
import websockets
from live_server import Server
from talk_servers import TalkServer

from anchor.errors import ConfigError, ServiceError
from anchor.serving.conversation import MOST_MESSAGES, Conversation, Minds, Talks, open_minds
from anchor.serving.language_model import LanguageModel
from anchor.serving.serve import serve
from anchor.speech.http import Bounds
from anchor.speech.voices import open_voices

HASTY = Bounds(connect_s=0.5, first_s=0.5, gap_s=0.7, total_s=20.0, most_bytes=2**20)
CHAT = "/v1/chat/completions"
SAID = ["Good evening.", "It is warm today.", "And that was the news."]


@pytest.fixture(scope="module")
def shared_talk():
    running = TalkServer()
    yield running
    running.stop()


@pytest.fixture
def talk(shared_talk):
    shared_talk.faults.clear()
    shared_talk.requests.clear()
    shared_talk.ended.clear()
    shared_talk.gap_s, shared_talk.seconds = 0.0, 0.6
    return shared_talk


def model_of(talk, **about):
    return LanguageModel(f"{talk.url}/v1", "small", bounds=HASTY, **about)


def answered(conversation, question="How is the weather?"):
    async def gather():
        said = []
        try:
            async for sentence in conversation.answer(question):
                said.append(sentence.text)
        except ServiceError as error:
            return said, str(error)
        return said, ""

    return asyncio.run(asyncio.wait_for(gather(), 30))


def test_an_answer_comes_sentence_by_sentence_and_is_remembered(talk):
    conversation = Conversation(model_of(talk, key="the-key-of-the-model"), lambda name, about: None)
    assert answered(conversation) == (SAID, "")
    assert answered(conversation, "And tomorrow?") == (SAID, "")
    _, headers, sent = talk.requests[1]
    assert headers["Authorization"] == "Bearer the-key-of-the-model"
    assert (sent["model"], sent["stream"]) == ("small", True)
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert sent["messages"][2]["content"] == " ".join(SAID)


def test_what_is_remembered_is_bounded(talk):
    conversation = Conversation(model_of(talk), lambda name, about: None)
    for number in range(MOST_MESSAGES):
        conversation._remember(f"question {number}", "an answer")
    assert len(conversation.messages) == MOST_MESSAGES
    assert conversation.messages[-2]["content"] == f"question {MOST_MESSAGES - 1}"
    conversation._remember("long", "x" * 11_990)
    assert len(conversation.messages) == 2


def test_a_server_that_does_not_stream_is_heard_as_well(talk):
    talk.faults[CHAT] = ["whole"]
    assert answered(Conversation(model_of(talk), lambda name, about: None)) == (SAID, "")


@pytest.mark.parametrize(
    ("fault", "words", "sentences"),
    [
        ("hangs", "did not answer in", 0),
        ("stops", "sent nothing for", 1),
        ("dies", "broke off in the middle", 1),
        ("cut", "broke off in the middle of an answer", 1),
        ("nonsense", "no JSON object", 1),
        ("error", "out of memory", 1),
        ("shape", "another shape", 0),
        ("number", "something else than text", 0),
        ("no events", "no server-sent events", 0),
        ("page", "without one server-sent event", 0),
        ("silent", "answered without a word", 0),
        ("refuses", "answered with status 401", 0),
        ("moved", "answered with status 302", 0),
    ],
)
def test_a_model_that_fails_is_one_sentence_in_bounded_time(talk, fault, words, sentences, caplog):
    caplog.set_level(logging.DEBUG)
    talk.faults[CHAT], talk.gap_s = [fault], 0.02
    began = time.monotonic()
    model = model_of(talk, key="the-key-of-the-model")
    said, reason = answered(Conversation(model, lambda name, about: None))
    assert time.monotonic() - began < 15
    assert words in reason
    assert said == SAID[: len(said)]
    assert len(said) >= sentences
    assert "the-key-of-the-model" not in reason + repr(model) + caplog.text


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "localhost"}, "is no address"),
        ({"url": "http://localhost/v1"}, "needs llm.model="),
        ({"model": "small"}, "need llm.url="),
        ({"url": "http://me:key@localhost", "model": "m"}, "end up in logs"),
    ],
)
def test_a_model_that_is_none_is_refused_before_anything_begins(keys, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        open_minds(**keys)
    with pytest.raises(ConfigError, match=words):
        serve(avatars=tmp_path, device="cpu", **{f"llm_{key}": value for key, value in keys.items()})


# In a session: real sockets, a real drawing process, the embedded voice.


@pytest.fixture(scope="module")
def asked_server(tmp_path_factory, shared_talk):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    voices = open_voices([f"openai:{shared_talk.url}?model=tts&voice=ann", "espeak"])
    for item in voices._items[:1]:
        item.voice._bounds = HASTY
    voices._rest_s = 0.0
    minds = Minds(LanguageModel(f"{shared_talk.url}/v1", "small", bounds=HASTY, key="the-key-of-the-model"))
    running = Server(folder, speak=voices.flow, minds=minds, max_sessions=3, max_speaking=2)
    yield running
    running.stop()


@pytest.fixture
def http(asked_server):
    with httpx.Client(base_url=asked_server.url) as client:
        yield client
        for id in list(asked_server.station.sessions):
            client.delete(f"/api/sessions/{id}")


def opened(http):
    return http.post("/api/sessions", json={}).json()["id"]


def ask(http, id, text="How is the weather?", **about):
    answer = http.post(f"/api/sessions/{id}/chat", json={"text": text, **about})
    assert answer.status_code == 202, answer.text
    return answer.json()


def wait_for(server, id, *names, seconds=30.0):
    """The events of a session up to one of ``names``."""
    deadline = time.monotonic() + seconds
    while True:
        events = list(server.station.sessions[id].events)
        if any(event["event"] in names for event in events):
            return events
        assert time.monotonic() < deadline, events
        time.sleep(0.02)


def test_a_session_answers_aloud(http, asked_server, talk):
    assert http.get("/api/conversation").json()["chat"] is True
    id = opened(http)
    ask(http, id)
    events = wait_for(asked_server, id, "silent")
    assert [event["text"] for event in events if event["event"] == "sentence"][: len(SAID)] == SAID
    names = [event["event"] for event in events]
    assert names.index("asked") < names.index("sentence") < names.index("speaking")
    assert "the-key-of-the-model" not in json.dumps(events)


def test_an_interruption_ends_the_request_and_nothing_old_is_heard(http, asked_server, talk):
    talk.gap_s = 0.4  # the model is in the middle of it
    id = opened(http)
    ask(http, id)
    wait_for(asked_server, id, "speaking")
    timeline = asked_server.station.sessions[id].session.timeline
    http.post(f"/api/sessions/{id}/interrupt")
    assert not timeline.is_speaking
    deadline = time.monotonic() + 60
    while CHAT not in talk.ended:
        assert time.monotonic() < deadline, "the model's line is closed"
        time.sleep(0.02)
    session, before = asked_server.station.sessions[id].session, len(asked_server.station.sessions[id].events)
    until = session.tick + 25
    while session.tick < until:
        assert time.monotonic() < deadline + 20
        time.sleep(0.02)
    assert not timeline.is_speaking
    late = [event["event"] for event in list(asked_server.station.sessions[id].events)[before:]]
    assert not {"sentence", "speaking", "uttered"} & set(late)
    talk.gap_s = 0.0
    ask(http, id, "And tomorrow?")
    remembered = next(body for path, _, body in reversed(wait_requests(talk, 2)) if path == CHAT)["messages"]
    assert remembered[1]["content"] == "How is the weather?"
    assert remembered[2]["content"] != " ".join(SAID), "what was not said is not remembered as said"


def wait_requests(talk, count):
    deadline = time.monotonic() + 60
    while talk.paths().count(CHAT) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return talk.requests


@pytest.mark.parametrize("fault", ["hangs", "dies", "no events", "refuses"])
def test_a_session_goes_on_after_a_model_that_fails(http, asked_server, talk, fault):
    talk.faults[CHAT] = [fault]
    id = opened(http)
    ask(http, id)
    events = wait_for(asked_server, id, "failed")
    assert "language model at" in next(event["reason"] for event in events if event["event"] == "failed")
    ask(http, id)
    wait_for(asked_server, id, "speaking")


@pytest.mark.parametrize("fault", ["hangs", "dies", "noise", "page"])
def test_a_session_goes_on_in_another_voice(http, asked_server, talk, fault):
    talk.faults["/v1/audio/speech"] = [fault]
    id = opened(http)
    http.post(f"/api/sessions/{id}/say", json={"text": "Good evening."})
    events = wait_for(asked_server, id, "uttered")
    assert "espeak speaks instead" in next(event["reason"] for event in events if event["event"] == "voice")
    assert not any(event["event"] == "failed" for event in events)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"text": ""}, 400, "no word"),
        ({"text": "😀🎉"}, 400, "no word"),
        ({"text": "<break/>"}, 400, "no word"),
        ({"text": "a" * 4001}, 422, "4000"),
        ({}, 422, "text"),
    ],
)
def test_a_question_that_is_none_gets_a_sentence(http, body, status, words):
    answer = http.post(f"/api/sessions/{opened(http)}/chat", json=body)
    assert answer.status_code == status
    assert words in answer.text


def test_without_a_model_the_route_says_how_to_get_one(http, asked_server):
    live = asked_server.station.sessions[opened(http)]
    with pytest.raises(ConfigError, match=r"llm\.url="):
        Talks(asked_server.station, open_minds()).ask(live, "Hello?")


def test_events_of_a_conversation_reach_the_page(http, asked_server, talk):
    async def listen():
        id = opened(http)
        async with websockets.connect(f"{asked_server.url.replace('http', 'ws')}/api/sessions/{id}/events") as events:
            await asyncio.to_thread(ask, http, id, "<b>Hello</b> 😀")
            seen = []
            while "sentence" not in [event["event"] for event in seen]:
                seen.append(json.loads(await events.recv()))
        assert {"event": "asked", "text": "Hello"}.items() <= next(e for e in seen if e["event"] == "asked").items()
        assert sum(event["event"] == "note" for event in seen) == 2

    asyncio.run(asyncio.wait_for(listen(), 30))
