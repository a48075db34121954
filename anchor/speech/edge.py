"""Microsoft's voices over the internet, through edge-tts: ``edge:zh-CN-XiaoxiaoNeural``. Texts leave the machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import av
import numpy as np

from anchor.errors import ConfigError, ServiceError
from anchor.speech.http import Bounds, time_limit
from anchor.speech.local import import_extra
from anchor.speech.remote import BOUNDS
from anchor.speech.synthesis import SoundChunk
from anchor.speech.text import Sentence, language_of

__all__ = ["EdgeVoice", "Mp3Reader"]

NAMES = {
    "en": "en-US-AriaNeural", "zh": "zh-CN-XiaoxiaoNeural", "ja": "ja-JP-NanamiNeural", "ko": "ko-KR-SunHiNeural",
    "ru": "ru-RU-SvetlanaNeural",
}  # fmt: skip


class Mp3Reader:
    """MP3 in pieces of any length to samples, frame by frame."""

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("mp3float", "r")

    def add(self, piece: bytes) -> Iterator[SoundChunk]:
        """The samples of the frames that ``piece`` completes; an empty piece is the end. Broken frames are left out."""
        for packet in self._codec.parse(piece):
            try:
                frames = self._codec.decode(packet)
            except av.error.FFmpegError:
                continue
            for frame in frames:
                samples_CL = frame.to_ndarray().astype(np.float32)
                yield SoundChunk(np.ascontiguousarray(samples_CL.mean(0)), frame.sample_rate)


class EdgeVoice:
    """A voice by its name; without one, a voice for each language.

    Raises:
        ConfigError: edge-tts is not installed, or the name is none.
    """

    name = "edge"

    def __init__(self, voice: str = "", bounds: Bounds = BOUNDS) -> None:
        self._edge = import_extra("edge_tts", "voices")
        self._voice, self._bounds = voice, bounds
        try:
            self._edge.Communicate("hello", voice or NAMES["en"])
        except (ValueError, TypeError):
            raise ConfigError(f"tts=edge:{voice} is no voice. Write one like zh-CN-XiaoxiaoNeural.") from None

    async def flow(self, sentence: Sentence) -> AsyncGenerator[SoundChunk, None]:
        """The sound as it comes.

        Raises:
            ServiceError: the service cannot be reached, is too slow, or breaks off.
        """
        reader, num_chunks = Mp3Reader(), 0
        voice = self._voice or NAMES[language_of(sentence.text)]
        messages = self._edge.Communicate(sentence.text, voice).stream()
        patience_s = self._bounds.connect_s + self._bounds.first_s
        try:
            while True:
                try:
                    async with time_limit(patience_s):
                        message = await anext_or_none(messages)
                except asyncio.TimeoutError:
                    raise ServiceError(f"The edge voice sent nothing for {patience_s:.0f} s.") from None
                except ServiceError:
                    raise
                except Exception as error:  # of edge-tts and aiohttp
                    said = f"{type(error).__name__}: {str(error)[:120]}"
                    raise ServiceError(f"The edge voice cannot be had ({said}).") from None
                if message is not None and message["type"] != "audio":
                    continue
                for chunk in reader.add(message["data"] if message else b""):
                    num_chunks += 1
                    yield chunk
                if message is None:
                    break
                patience_s = self._bounds.gap_s
        finally:
            await messages.aclose()
        if not num_chunks:
            raise ServiceError("The edge voice sent no sound.")


async def anext_or_none(stream: AsyncGenerator) -> dict | None:  # type: ignore[type-arg]
    """The next of a stream, or None at its end."""
    async for one in stream:
        return one  # type: ignore[no-any-return]
    return None
