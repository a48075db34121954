"""Microsoft's voices: a stand-in for the package edge-tts, which needs the internet, with MP3 made here."""

import asyncio
import io
import sys
import types

import av
import numpy as np
import pytest

from anchor.errors import ConfigError, ServiceError
from anchor.speech.edge import EdgeVoice
from anchor.speech.http import Bounds
from anchor.speech.text import split_sentences

RATE = 24_000
SENTENCES = split_sentences("Good evening. 今天很好。")


def mp3(seconds=1.0):
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"id3v2_version": "0", "write_xing": "0"}) as container:
        stream = container.add_stream("mp3", rate=RATE, layout="mono")
        tone = (0.3 * np.sin(2 * np.pi * 220 * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


class Communicate:
    """As edge-tts has it: a stream of messages, of sound and of words."""

    asked, fault = [], ""

    def __init__(self, text, voice):
        if "-" not in voice:
            raise ValueError(f"Invalid voice '{voice}'.")
        self.text, self.voice = text, voice

    async def stream(self):
        Communicate.asked.append((self.text, self.voice))
        data = b"" if self.fault == "empty" else mp3()
        for begin in range(0, len(data), 700):
            yield {"type": "audio", "data": data[begin : begin + 700]}
            yield {"type": "WordBoundary", "offset": 0, "duration": 1, "text": "Good"}
            if self.fault == "hangs":
                await asyncio.sleep(60)
            if self.fault == "dies":
                raise ConnectionResetError("gone")


@pytest.fixture
def edge(monkeypatch):
    monkeypatch.setitem(sys.modules, "edge_tts", types.SimpleNamespace(Communicate=Communicate))
    Communicate.asked.clear()
    Communicate.fault = ""


def spoken(voice, sentence=SENTENCES[0]):
    async def gather():
        return [chunk async for chunk in voice.flow(sentence)]

    return asyncio.run(asyncio.wait_for(gather(), 30))


def test_mp3_becomes_sound_piece_by_piece_in_the_voice_of_the_language(edge):
    chunks = spoken(EdgeVoice())
    assert len(chunks) > 10
    assert {chunk.sample_rate for chunk in chunks} == {RATE}
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert abs(len(heard) / RATE - 1.0) < 0.1
    assert 0.25 < np.abs(heard[RATE // 4 : RATE // 2]).max() < 0.4
    spoken(EdgeVoice(), SENTENCES[1])
    spoken(EdgeVoice("de-DE-KatjaNeural"))
    assert [voice for _, voice in Communicate.asked] == [
        "en-US-AriaNeural", "zh-CN-XiaoxiaoNeural", "de-DE-KatjaNeural",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "words"),
    [("empty", "sent no sound"), ("dies", "ConnectionResetError: gone"), ("hangs", "sent nothing for")],
)
def test_a_service_that_fails_is_one_sentence(edge, fault, words):
    Communicate.fault = fault
    with pytest.raises(ServiceError, match=words):
        spoken(EdgeVoice("", Bounds(connect_s=0.2, first_s=0.2, gap_s=0.3)))


def test_a_voice_that_is_none(edge):
    with pytest.raises(ConfigError, match=r"is no voice. Write one like zh-CN"):
        EdgeVoice("ann")
