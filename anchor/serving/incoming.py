"""Sound that clients stream in: 20 ms pieces of int16 over a WebSocket, to be spoken or to be listened to."""

from __future__ import annotations

import reprlib
from typing import Any, Literal

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from anchor.errors import ConfigError
from anchor.serving.live import Live
from anchor.serving.sockets import parse_message
from anchor.serving.sound import SoundMaker
from anchor.serving.station import Station

__all__ = ["SoundLine", "hear"]

MOST_MESSAGE = 64 * 1024  # bytes of one piece of streamed speech, 2 s of 16 kHz
STREAM_AHEAD_S = 10.0  # of streamed speech that may wait: more is refused

What = Literal["begins", "sound", "ends"]


class SoundLine:
    """A client's sound: ``{"rate": 16000}``, int16 PCM in binary messages, and ``{"end": true}``, again and again.

    Shape suffixes: L samples of 16 kHz; ``sound_L4`` as in :mod:`anchor.serving.timeline`.
    """

    def __init__(self, socket: WebSocket, live: Live) -> None:
        self._socket, self._live = socket, live
        self._maker: SoundMaker | None = None

    async def read(self) -> tuple[What, np.ndarray | None]:
        """What came next: a rate begins, sound_L4 goes on, and what was left of it ends; None where there was none.

        Raises:
            WebSocketDisconnect: the client has gone.
            ConfigError: what came is no sound, or comes before its rate.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        self._live.touch()
        if (text := message.get("text")) is None:
            return "sound", self._take(message.get("bytes") or b"")
        about = parse_message(text)
        if not about.get("end"):
            self._maker = SoundMaker(_read_rate(about))
            return "begins", None
        rest_L4 = self._maker.add(np.zeros(0, np.float32), is_last=True) if self._maker is not None else None
        self._maker = None
        return "ends", rest_L4

    def _take(self, data: bytes) -> np.ndarray:
        if self._maker is None:
            raise ConfigError('Say the rate first: {"rate": 16000}.')
        if len(data) > MOST_MESSAGE or len(data) % 2:
            raise ConfigError(f"A piece of speech has {len(data)} bytes; send int16 in pieces of up to {MOST_MESSAGE}.")
        return self._maker.add(np.frombuffer(data, "<i2").astype(np.float32) / 32768)


async def hear(station: Station, socket: WebSocket, live: Live) -> None:
    """Speak what a client streams; an interruption ends it, and is told: what was under way by then is left out."""
    timeline, line = live.session.timeline, SoundLine(socket, live)
    epoch, is_told = timeline.epoch, False
    try:
        while True:
            what, sound_L4 = await line.read()
            if what == "begins":
                epoch, is_told = timeline.epoch, False
                station.door.admit(live)
            elif what == "ends":
                if sound_L4 is not None:
                    timeline.say(sound_L4, epoch, is_last=True)
            else:
                assert sound_L4 is not None
                if epoch == timeline.epoch and timeline.waiting_s > STREAM_AHEAD_S:
                    raise ConfigError(
                        f"More than {STREAM_AHEAD_S:.0f} s of speech are waiting. Send it as it is spoken."
                    )
                if not timeline.say(sound_L4, epoch, is_last=False) and not is_told:
                    is_told = True
                    await socket.send_json({"event": "interrupted", "epoch": timeline.epoch})
    finally:  # a client that breaks off has said what it said
        timeline.say(np.zeros((0, 4), np.float32), epoch, is_last=True)


def _read_rate(about: dict[str, Any]) -> int:
    """The sample rate in a message; raises a ``ConfigError`` where there is none."""
    rate = about.get("rate")
    if isinstance(rate, bool) or not isinstance(rate, int):
        raise ConfigError(f"rate={reprlib.repr(rate)} is no whole number of samples a second.")
    return rate
