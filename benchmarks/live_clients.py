"""Who watches and speaks in benchmarks/live.py: readers of the film over WebSockets, each session with its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import Iterator

import httpx
import numpy as np
import websockets

SENTENCE = "Good evening, and welcome. Here is the news of today, read by somebody who does not exist. "
TALK = 40 * SENTENCE  # minutes of it
BEEP_EVERY_S = 1.2


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes of an MP4."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + size]
        place += max(size, 8)


def count_pictures(piece: bytes) -> int:
    """Samples of the first track in a piece of fragmented MP4."""
    count = 0
    for kind, moof in boxes(piece):
        if kind != b"moof":
            continue
        for name, traf in boxes(moof):
            parts = dict(boxes(traf)) if name == b"traf" else {}
            if parts and struct.unpack_from(">I", parts[b"tfhd"], 4)[0] == 1:
                count += sum(struct.unpack_from(">I", body, 4)[0] for part, body in boxes(traf) if part == b"trun")
    return count


class Watcher:
    """A session and one who watches it over a WebSocket."""

    def __init__(self, url: str, avatar: str = "") -> None:
        self.url = url
        answer = httpx.post(f"{url}/api/sessions", json={"avatar": avatar}, timeout=30).raise_for_status()
        self.id = answer.json()["id"]
        self.arrived: list[tuple[float, int]] = []  # when, and how many pictures

    async def watch(self) -> None:
        """Until it is cancelled."""
        address = f"{self.url.replace('http', 'ws')}/api/sessions/{self.id}/stream"
        with contextlib.suppress(websockets.ConnectionClosed):
            async with websockets.connect(address, max_size=None) as film:
                async for piece in film:
                    self.arrived.append((time.monotonic(), count_pictures(piece)))

    def rate(self, seconds: float) -> float:
        """Pictures a second, of the last ``seconds``."""
        now = time.monotonic()
        return sum(count for at, count in self.arrived if at > now - seconds) / seconds

    def say(self, text: str = TALK) -> httpx.Response:
        """Let it speak."""
        return httpx.post(f"{self.url}/api/sessions/{self.id}/say", json={"text": text}, timeout=30)

    def close(self) -> None:
        """End the session."""
        httpx.delete(f"{self.url}/api/sessions/{self.id}", timeout=30)


async def beep(url: str, id: str, count: int) -> None:
    """Tones of 0.5 s, each an utterance of its own: the mouth comes with the first of its ticks."""
    tone = (np.sin(np.arange(8000) * 0.2) * 12000).astype("<i2").tobytes()
    async with websockets.connect(f"{url.replace('http', 'ws')}/api/sessions/{id}/speech") as speech:
        for _ in range(count):
            await speech.send(json.dumps({"rate": 16000}))
            await speech.send(tone)
            await speech.send(json.dumps({"end": True}))
            await asyncio.sleep(BEEP_EVERY_S)


class Background:
    """An event loop in a thread: readers that go on while the browser is asked."""

    def __init__(self) -> None:
        import threading

        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def start(self, coroutine: object) -> object:
        """Run it beside all else."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)  # type: ignore[arg-type]
