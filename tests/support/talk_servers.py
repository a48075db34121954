"""Stand-ins for servers of language models and voices: the request's shape is theirs, the answer is made up here.

``faults`` says what happens to the next requests of a path, one after the other; then all is well.
"""

import asyncio
import json
import struct
import threading

import numpy as np
from aiohttp import web

RATE = 24_000


def tone(seconds: float, rate: int = RATE, level: float = 0.2) -> np.ndarray:
    """int16 samples of a tone at 220 Hz."""
    return (32767 * level * np.sin(2 * np.pi * 220 * np.arange(round(rate * seconds)) / rate)).astype("<i2")


def wav_header(rate: int, num_bytes: int = 0xFFFFFFFF - 36) -> bytes:
    """Of one channel of int16, as a server writes it that does not know the length."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", num_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + struct.pack("<4sI", b"data", num_bytes)


class TalkServer:
    """Answers on a free port of this machine, in a thread of its own."""

    def __init__(self) -> None:
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, dict, dict]] = []  # path, headers, what was sent
        self.ended: list[str] = []  # paths whose client went away in the middle
        self.words = ["Good ", "evening. ", "It is ", "warm ", "today. ", "And that ", "was the news."]
        self.seconds = 0.6  # of sound
        self.gap_s = 0.0  # between pieces
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/studio_speakers", self._speakers)
        app.router.add_post("/v1/chat/completions", self._chat)
        for path in ("/tts_stream", "/inference_sft", "/inference_zero_shot", "/tts", "/v1/audio/speech"):
            app.router.add_post(path, self._sound)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _take(self, request):
        """Note a request; the fault that it meets."""
        if request.content_type == "application/json":
            sent = await request.json()
        else:
            sent = {
                key: value if isinstance(value, str) else value.file.read()
                for key, value in (await request.post()).items()
            }
        self.requests.append((request.path, dict(request.headers), sent))
        waiting = self.faults.get(request.path, [])
        return waiting.pop(0) if waiting else ""

    async def _speakers(self, request):
        return web.json_response({"Ann": {"speaker_embedding": [0.1, 0.2], "gpt_cond_latent": [[0.3]]}})

    async def _answer(self, request, kind, pieces, fault):
        """A streamed body; "dies" cuts the line after half of it, "stops" says nothing more."""
        response = web.StreamResponse(headers={"Content-Type": kind} if kind else {})
        await response.prepare(request)
        try:
            for number, piece in enumerate(pieces):
                if fault in ("dies", "stops") and number >= len(pieces) // 2:
                    if fault == "stops":
                        await asyncio.sleep(600)
                    request.transport.abort()
                    return response
                await response.write(piece)
                await asyncio.sleep(self.gap_s)
        except (ConnectionResetError, asyncio.CancelledError):
            self.ended.append(request.path)
            raise
        await response.write_eof()
        return response

    async def _common(self, request, fault):
        """What any server may do wrong."""
        if fault == "hangs":
            try:
                await asyncio.sleep(600)
            finally:
                self.ended.append(request.path)
        if fault == "refuses":
            return web.json_response(
                {"error": {"message": f"no, {request.headers.get('Authorization', '')}"}}, status=401
            )
        if fault == "page":
            return web.Response(text="<html>Please sign in</html>", content_type="text/html")
        if fault == "moved":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        return None

    async def _chat(self, request):
        fault = await self._take(request)
        wrong = await self._common(request, fault)
        if wrong is not None:
            return wrong
        if fault == "whole":
            text = "".join(self.words)
            return web.json_response({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
        events = [{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
        events += [{"choices": [{"delta": {"content": word}, "finish_reason": None}]} for word in self.words]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        lines = {
            "nonsense": [*lines[:4], b"data: {never json\n\n"], "shape": [b'data: {"choices": [[]]}\n\n'],
            "no events": [b"\x00\x01garbage" * 50_000],
            "number": [b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'],
            "error": [*lines[:4], b'data: {"error": {"message": "out of memory"}}\n\n'], "cut": lines[:6],
            "silent": [lines[0], lines[-1]],
        }.get(fault, [*lines, b"data: [DONE]\n\n"])  # fmt: skip
        return await self._answer(request, "text/event-stream", lines, fault)

    async def _sound(self, request):
        fault = await self._take(request)
        wrong = await self._common(request, fault)
        if wrong is not None:
            return wrong
        samples = tone(self.seconds if fault != "endless" else 30)
        if fault == "noise":
            samples = np.random.default_rng(0).integers(-32768, 32767, RATE, "<i2")
        pieces = [samples[i : i + 2401].tobytes() for i in range(0, len(samples), 2401)]
        if request.path in ("/tts_stream", "/tts"):
            pieces = [wav_header(RATE)[:20], wav_header(RATE)[20:] + pieces[0][:1], pieces[0][1:], *pieces[1:]]
        pieces = {"empty": [], "mp3": [b"ID3\x04" + bytes(4000)], "json": [b'{"detail": "no such voice"}']}.get(
            fault, pieces
        )
        return await self._answer(request, "audio/wav" if request.path == "/tts" else "", pieces, fault)
