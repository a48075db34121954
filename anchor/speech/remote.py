"""Voices of servers that stream PCM over HTTP: XTTS, CosyVoice, GPT-SoVITS, and OpenAI's speech route.

Each is written as ``KIND:URL``; what its request needs besides the text stands in the URL's query:

- ``xtts:http://HOST:8000?speaker=NAME``: ``POST /tts_stream`` of Coqui's xtts-streaming-server.
- ``cosyvoice:http://HOST:50000?spk_id=NAME``: ``POST /inference_sft`` of CosyVoice's FastAPI server; with another
  path, such as ``/inference_zero_shot?prompt_text=WORDS&prompt_wav=FILE``, that one, and the file is sent along.
- ``gpt-sovits:http://HOST:9880?ref_audio_path=FILE&prompt_text=WORDS&prompt_lang=zh``: ``POST /tts`` of its api_v2.
- ``openai:http://HOST:8000?model=NAME&voice=NAME``: ``POST /v1/audio/speech`` with ``response_format=pcm``.

``rate=`` in the query is the sample rate of a server whose sound says none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from anchor.arguments import user_path
from anchor.errors import ConfigError, ServiceError
from anchor.speech.http import Bounds, check_address, fetch_json, open_stream
from anchor.speech.pcm import RATES, PcmReader, parse_rate
from anchor.speech.synthesis import SoundChunk
from anchor.speech.text import Sentence, language_of

__all__ = ["KEY_VARIABLE", "KINDS", "HttpVoice"]

KEY_VARIABLE = "ANCHOR_TTS_KEY"
BOUNDS = Bounds(connect_s=3.0, first_s=8.0, gap_s=4.0, total_s=60.0, most_bytes=32 * 2**20)
LEAST_S, PER_CHARACTER_S = 10.0, 0.6  # a sentence that sounds longer than this is no speech


@dataclass(frozen=True)
class _Kind:
    path: str  # where the address has none
    rate: int  # samples a second of raw sound, unless the answer or the query says another
    needs: tuple[str, ...]  # of the query


KINDS = {
    "xtts": _Kind("/tts_stream", 24_000, ("speaker",)),
    "cosyvoice": _Kind("/inference_sft", 22_050, ()),
    "gpt-sovits": _Kind("/tts", 32_000, ("ref_audio_path", "prompt_lang")),
    "openai": _Kind("/v1/audio/speech", 24_000, ("model", "voice")),
}
XTTS_LANGUAGES = {"zh": "zh-cn"}


class HttpVoice:
    """A server's voice; ``ANCHOR_TTS_KEY`` in the environment is sent as its bearer token.

    Args:
        kind: one of :data:`KINDS`.
        address: see above.
        bounds: of time and size.

    Raises:
        ConfigError: the address is none, lacks something, or names a file that cannot be read.
    """

    def __init__(self, kind: str, address: str, bounds: Bounds = BOUNDS) -> None:
        self._kind, self._bounds, self.name = kind, bounds, kind
        about = KINDS[kind]
        parts = urlsplit(check_address(f"tts={kind}", address))
        self._options = dict(parse_qsl(parts.query))
        self._url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or about.path, "", ""))
        self._base = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        self._what = f"The {kind} voice at {self._base}"
        self._key = os.environ.get(KEY_VARIABLE, "")
        missing = [name for name in about.needs if not self._options.get(name)]
        if missing:
            example = "&".join(f"{name}=..." for name in missing)
            raise ConfigError(f"tts={kind}:{address} lacks {', '.join(missing)}. Write {address}?{example}.")
        rate = self._options.pop("rate", "")
        if rate and parse_rate(rate) is None:
            raise ConfigError(f"tts={kind}: rate={rate:.40} is no rate that speech may have. Give {RATES}.")
        self._rate = parse_rate(rate) or about.rate
        self._is_rate_told = bool(rate)
        self._prompt: bytes | None = None
        if kind == "cosyvoice" and (path := self._options.pop("prompt_wav", "")):
            try:
                self._prompt = user_path("prompt_wav", path).read_bytes()
            except OSError as error:
                raise ConfigError(f"tts=cosyvoice: prompt_wav={path} cannot be read ({error.strerror}).") from None
        self._speaker: dict[str, Any] | None = None  # of XTTS: numbers that are fetched once

    async def flow(self, sentence: Sentence) -> AsyncGenerator[SoundChunk, None]:
        """The sound of ``sentence`` as the server makes it.

        Raises:
            ServiceError: the server cannot be reached, is too slow, breaks off, or sends something else than speech.
        """
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = await self._request(sentence.text)
        longest_s = max(LEAST_S, PER_CHARACTER_S * len(sentence.text))
        stream = open_stream(self._what, "POST", self._url, self._bounds, self._key, headers=headers, **request)
        async with stream as reply:
            if reply.kind.startswith("text/") or reply.kind.endswith("json"):
                raise ServiceError(f"{self._what} sent {reply.kind}, which is no sound.")
            said = reply.headers.get("X-Custom-Header-sampleRate", "")  # CosyVoice's
            if said and not self._is_rate_told and parse_rate(said) is None:
                raise ServiceError(f"{self._what} says {said[:40]!r} of its sample rate. It should be {RATES}.")
            rate = self._rate if self._is_rate_told else parse_rate(said) or self._rate
            reader, length_s = PcmReader(self._what, rate), 0.0
            async with contextlib.aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    for chunk in reader.add(piece):
                        length_s += len(chunk.samples) / chunk.sample_rate
                        if length_s > longest_s:
                            raise ServiceError(
                                f"{self._what} speaks {len(sentence.text)} characters for more than {longest_s:.0f} s."
                            )
                        yield chunk
            for chunk in reader.end():
                yield chunk

    async def _request(self, text: str) -> dict[str, Any]:
        """What aiohttp is to send."""
        language, options = language_of(text), self._options
        if self._kind == "xtts":
            speaker = await self._find_speaker()
            about = {"text": text, "language": options.get("language", XTTS_LANGUAGES.get(language, language))}
            return {"json": {**about, **speaker, "add_wav_header": True, "stream_chunk_size": "20"}}
        if self._kind == "gpt-sovits":
            about = {"text": text, "text_lang": language if language in ("en", "zh", "ja", "ko") else "auto"}
            return {"json": {**about, "media_type": "wav", "streaming_mode": True, **options}}
        if self._kind == "openai":
            return {"json": {"input": text, "response_format": "pcm", **options}}
        import aiohttp

        form = aiohttp.FormData({"tts_text": text, **options})
        if self._prompt is not None:
            form.add_field("prompt_wav", self._prompt, filename="prompt.wav", content_type="audio/wav")
        return {"data": form}

    async def _find_speaker(self) -> dict[str, Any]:
        if self._speaker is None:
            speakers = await fetch_json(self._what, f"{self._base}/studio_speakers", self._bounds)
            name = self._options["speaker"]
            speaker = speakers.get(name) if isinstance(speakers, dict) else None
            if not isinstance(speaker, dict):
                known = ", ".join(list(speakers)[:8]) if isinstance(speakers, dict) else "none"
                raise ServiceError(f"{self._what} has no speaker {name!r}. It has {known}.")
            self._speaker = {key: speaker.get(key) for key in ("speaker_embedding", "gpt_cond_latent")}
        return self._speaker
