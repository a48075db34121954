"""The drawing process as a process."""

import asyncio
import os
import signal
import time

import numpy as np
import pytest
from live_server import load_face

from anchor.errors import AnchorError
from anchor.serving.batching import Request
from anchor.serving.drawer import Drawer


def request(session: int, tick: int, loud: float = 0.0, seconds: float = 30.0) -> Request:
    return Request(session, "ann", 0, tick, tick % 10, np.full((80, 16), loud, np.float32), time.monotonic() + seconds)


async def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_draws_for_all_and_comes_back_after_a_kill(run):
    async def life():
        answers, events = [], []
        drawer = Drawer(load_face, answers.append, on_event=lambda name, about: events.append((name, about)))
        await drawer.start()
        try:
            assert not drawer.submit(request(0, 0)), "nothing is promised before an avatar is there"
            with pytest.raises(AnchorError, match="no such avatar"):
                await drawer.add("bob", "missing")
            cost = await drawer.add("ann", "here")
            assert set(cost) == {1, 2, 4, 8, 16}
            for session in range(5):
                assert drawer.submit(request(session, 7, loud=session - 2))
            drawer.submit(request(9, 7, seconds=-1))
            await until(lambda: len(answers) == 6)
            late = [answer for answer in answers if answer.mouth_hSC is None]
            assert [answer.session for answer in late] == [9]
            bright = {a.session: float(a.mouth_hSC.mean()) for a in answers if a.mouth_hSC is not None}
            assert [bright[i] for i in range(5)] == pytest.approx([64, 96, 128, 159, 191], abs=1)

            answers.clear()
            first = drawer.pid
            os.kill(first, signal.SIGKILL)
            await until(lambda: drawer.num_restarts == 1 and drawer.is_alive)
            assert drawer.pid != first
            assert [name for name, _ in events] == ["drawing_ended", "drawing_back"]
            drawer.submit(request(3, 8, loud=1))
            await until(lambda: answers)
            assert answers[0].session == 3
        finally:
            await drawer.close()
        assert drawer.num_restarts == 1

    run(life())


def test_a_process_that_never_answers_is_an_avatar_that_cannot_be_used(run, monkeypatch):
    monkeypatch.setattr("anchor.serving.drawer.START_S", 0.01)
    monkeypatch.setattr(Drawer, "_launch", lambda drawer: None)

    async def life():
        drawer = Drawer(load_face, lambda drawn: None)
        await drawer.start()
        with pytest.raises(AnchorError, match="has not loaded it"):
            await drawer.add("ann", "here")
        assert not drawer._ready, "it is not waited for any more"

    run(life())


@pytest.mark.slow
def test_one_that_stands_still_is_replaced(run):
    async def life():
        answers = []
        drawer = Drawer(load_face, answers.append)
        await drawer.start()
        try:
            await drawer.add("ann", "here")
            first = drawer.pid
            os.kill(first, signal.SIGSTOP)
            tick = 0
            while drawer.pid == first or not drawer.is_alive:
                drawer.submit(request(0, tick := tick + 1))
                await asyncio.sleep(0.04)
            drawer.submit(request(0, tick + 1))
            await until(lambda: any(answer.tick == tick + 1 for answer in answers))
        finally:
            await drawer.close()

    run(life())
