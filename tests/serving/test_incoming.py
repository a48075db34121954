"""Streamed speech: what is on its way when an interruption comes, and a client that breaks off."""

import asyncio
import json
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import WebSocketDisconnect

from anchor.errors import ConfigError
from anchor.serving.incoming import SoundLine, hear
from anchor.serving.timeline import Timeline

RATE = {"type": "websocket.receive", "text": json.dumps({"rate": 16000})}
PIECE = {"type": "websocket.receive", "bytes": np.full(3200, 3000, "<i2").tobytes()}
GONE = {"type": "websocket.disconnect"}


class Line:
    """In the place of a WebSocket: what a client sends, with an interruption in between."""

    def __init__(self, timeline, *messages):
        self.timeline, self.messages, self.sent = timeline, list(messages), []

    async def receive(self):
        message = self.messages.pop(0)
        if message == "interrupt":
            self.timeline.interrupt()
            message = self.messages.pop(0)
        return message

    async def send_json(self, message):
        self.sent.append(message)


@pytest.mark.parametrize(
    ("messages", "spoken_s", "told"),
    [
        ((RATE, PIECE, PIECE), 0.4, 0),
        ((RATE, PIECE, "interrupt", PIECE, PIECE), 0.0, 1),
        ((RATE, PIECE, "interrupt", PIECE, PIECE, RATE, PIECE, PIECE), 0.4, 1),
    ],
)
def test_what_was_under_way_at_an_interruption_is_left_out_and_the_end_of_the_line_ends_the_speech(
    messages, spoken_s, told
):
    timeline = Timeline()
    live = SimpleNamespace(session=SimpleNamespace(timeline=timeline), touch=lambda: None)
    station = SimpleNamespace(door=SimpleNamespace(admit=lambda live: None))
    line = Line(timeline, *messages, GONE)
    with pytest.raises(WebSocketDisconnect):
        asyncio.run(hear(station, line, live))
    assert [message["event"] for message in line.sent] == ["interrupted"] * told
    assert timeline.waiting_s == pytest.approx(spoken_s, abs=0.05)
    for tick in range(20):
        timeline.pop(tick)
    assert not timeline.is_speaking
    assert not timeline.num_starved


def test_a_rate_that_is_none_is_not_told_at_full_length():
    line = Line(Timeline(), {"type": "websocket.receive", "text": json.dumps({"rate": "x" * 70_000})})
    sound = SoundLine(line, SimpleNamespace(touch=lambda: None))
    with pytest.raises(ConfigError, match="no whole number") as refused:
        asyncio.run(sound.read())
    assert len(str(refused.value)) < 200
