"""A recogniser that hangs, and a client that does not read: neither holds up the session."""

import asyncio
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import anchor.serving.listening as listening
from anchor.errors import ServiceError
from anchor.serving.listening import Ear, Ears, HangingError
from anchor.serving.live import MOST_UNREAD, EventLine, SlowError
from anchor.serving.streams import tell_events

SAID = np.zeros(160, np.float32)


class Hanging:
    """In the place of a recogniser: does not answer before it is let go."""

    name = "stand-in"

    def __init__(self):
        self.go, self.num_asked = threading.Event(), 0

    def hear(self, samples):
        self.num_asked += 1
        assert self.go.wait(30)
        if len(samples) == 1:
            raise RuntimeError("out of memory")
        return "hello"


def test_a_recogniser_that_hangs_is_given_up_and_nothing_waits_behind_it(run, monkeypatch):
    monkeypatch.setattr(listening, "PATIENCE_S", 0.05)

    async def life():
        hanging = Hanging()
        ears = Ears(hanging)
        for _ in range(3):
            with pytest.raises(HangingError, match="stand-in has not answered for"):
                await ears.recognise(SAID)
        assert hanging.num_asked == 1
        hanging.go.set()
        await asyncio.wait([ears._work])
        monkeypatch.setattr(listening, "PATIENCE_S", 30.0)
        assert await ears.recognise(SAID) == "hello", "it is heard again"
        with pytest.raises(ServiceError, match="RuntimeError: out of memory"):
            await ears.recognise(SAID[:1])
        assert await ears.recognise(SAID) == "hello"

    run(life())


def test_a_session_that_leaves_lets_the_next_one_wait_for_what_it_left_behind(run):
    async def life():
        hanging = Hanging()
        ears = Ears(hanging)
        leaving = asyncio.ensure_future(ears.recognise(SAID))
        while not hanging.num_asked:
            await asyncio.sleep(0.001)
        leaving.cancel()
        await asyncio.wait([leaving])
        coming = asyncio.ensure_future(ears.recognise(SAID))
        await asyncio.sleep(0.01)
        assert hanging.num_asked == 1, "one after the other"
        hanging.go.set()
        assert await coming == "hello"

    run(life())


def test_a_session_is_told_of_a_hanging_recogniser_once(run, monkeypatch):
    monkeypatch.setattr(listening, "PATIENCE_S", 0.01)

    async def life():
        told, hanging = [], Hanging()
        live = SimpleNamespace(tell=lambda name, about: told.append(name), session=SimpleNamespace(taps=set()))
        ear = Ear(live, Ears(hanging), SimpleNamespace(can_answer=False))
        ear.open()
        for _ in range(5):
            await ear._waiting.put(SAID)
        while not ear._waiting.empty():
            await asyncio.sleep(0.001)
        hanging.go.set()
        while "heard" not in told:
            await ear._waiting.put(SAID)
            await asyncio.sleep(0.001)
        await ear.close()
        assert told.count("failed") == 1

    run(life())


def event(name):
    return {"event": name}


def test_of_what_a_slow_listener_does_not_read_the_state_goes_first(run):
    async def life():
        line = EventLine()
        for _ in range(MOST_UNREAD):
            line.put(event("speaking"))
        assert line.num_left_out == MOST_UNREAD - MOST_UNREAD // 2
        for _ in range(MOST_UNREAD // 2):
            line.put(event("sentence"))
        assert (await line.get(), (await line.get())["event"]) == (event("speaking"), "speaking")
        waiting = asyncio.ensure_future(line.overflow())
        line.put(event("heard"))
        line.put(event("heard"))
        await asyncio.sleep(0)
        assert not waiting.done()
        line.put(event("heard"))
        with pytest.raises(SlowError, match="200 events wait"):
            await waiting

    run(life())


class FullLine:
    """In the place of a WebSocket that takes nothing."""

    async def send_json(self, event):
        await asyncio.Event().wait()

    async def receive_text(self):
        await asyncio.Event().wait()


def test_a_page_that_does_not_read_its_events_is_closed_with_a_reason(run):
    async def life():
        live = SimpleNamespace(listeners=set(), touch=lambda: None)
        telling = asyncio.ensure_future(tell_events(FullLine(), live))
        while not live.listeners:
            await asyncio.sleep(0)
        (line,) = live.listeners
        for number in range(2 * MOST_UNREAD):
            line.put({"event": "sentence", "text": json.dumps(number)})
        with pytest.raises(SlowError, match="come back for new ones"):
            await telling
        assert not live.listeners
        assert line._unread.qsize() <= MOST_UNREAD

    run(life())
