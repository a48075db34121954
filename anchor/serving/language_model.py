"""A language model behind OpenAI's chat route, streamed: what it writes arrives piece by piece."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchor.errors import ConfigError, ServiceError
from anchor.speech.http import Bounds, Reply, check_address, open_stream

__all__ = ["KEY_VARIABLE", "PROMPT", "LanguageModel", "Message"]

KEY_VARIABLE = "ANCHOR_LLM_KEY"
BOUNDS = Bounds(connect_s=5.0, first_s=30.0, gap_s=15.0, total_s=180.0, most_bytes=8 * 2**20)
MOST_LINE = 256 * 1024  # bytes of one event
MOST_TOKENS = 600  # of an answer: about four minutes of speech
PROMPT = (
    "You are a news anchor who answers aloud. Answer in the language you are asked in, in a few short spoken "
    "sentences, without lists, tables, links, emoji or Markdown."
)

Message = dict[str, str]  # {"role": "user", "content": ...}


@dataclass(frozen=True)
class LanguageModel:
    """Where the model is and what it is told. The key comes from ``ANCHOR_LLM_KEY``, and nothing here prints it.

    Raises:
        ConfigError: the address is none, or no model is named.
    """

    url: str  # of the API: http://HOST:8000/v1
    model: str
    prompt: str = PROMPT
    bounds: Bounds = BOUNDS
    key: str = field(default_factory=lambda: os.environ.get(KEY_VARIABLE, "").strip(), repr=False)

    def __post_init__(self) -> None:
        check_address("llm.url", self.url)
        if not self.model:
            raise ConfigError("llm.url= needs llm.model=, the name that the server knows the model by.")

    @property
    def name(self) -> str:
        """For sentences."""
        return f"The language model at {self.url}"

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The answer to a conversation, in pieces of text; closing the iterator ends the request.

        Raises:
            ServiceError: the server cannot be reached, is too slow, breaks off, or sends something else.
        """
        base = self.url.rstrip("/")
        address = base if base.endswith("/chat/completions") else f"{base}/chat/completions"
        body = {
            "model": self.model, "stream": True, "max_tokens": MOST_TOKENS,
            "messages": [{"role": "system", "content": self.prompt}, *messages],
        }  # fmt: skip
        headers = {"Accept": "text/event-stream"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        stream = open_stream(self.name, "POST", address, self.bounds, self.key, json=body, headers=headers)
        async with stream as reply:
            if reply.kind == "application/json":  # a server that does not stream
                text = _written(_parse(await reply.content(), self.name), "message", self.name)
                if text[0]:
                    yield text[0]
                return
            async with contextlib.aclosing(self._read(reply)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _read(self, reply: Reply) -> AsyncGenerator[str, None]:
        is_finished = False
        async with contextlib.aclosing(_events(reply, self.name)) as events:
            async for event in events:
                if event == b"[DONE]":
                    return
                text, ends = _written(_parse(event, self.name), "delta", self.name)
                is_finished |= ends
                if text:
                    yield text
        if not is_finished:
            raise ServiceError(f"{self.name} broke off in the middle of an answer.")


async def _events(reply: Reply, name: str) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events."""
    rest, num_bytes, num_events = b"", 0, 0
    async with contextlib.aclosing(reply.pieces()) as pieces:
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            num_bytes += len(piece)
            for line in lines:
                if line.startswith(b"data:"):
                    num_events += 1
                    yield line[5:].strip()
            if len(rest) > MOST_LINE or (not num_events and num_bytes > MOST_LINE):
                raise ServiceError(f"{name} sent {num_bytes} bytes that are no server-sent events.")
    if rest.startswith(b"data:"):
        num_events += 1
        yield rest[5:].strip()
    if not num_events:
        raise ServiceError(f"{name} sent {reply.kind or 'something'} without one server-sent event.")


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise ServiceError(f"{name} sent an event that is no JSON object: {data[:40]!r}.")
    if event.get("error"):
        about = event["error"]
        reason = about.get("message", about) if isinstance(about, dict) else about
        raise ServiceError(f"{name} failed in the middle of an answer: {str(reason)[:200]}.")
    return event


def _written(event: dict[str, Any], part: str, name: str) -> tuple[str, bool]:
    """The text of an event, and whether it ends the answer."""
    choices = event.get("choices")
    if not choices:  # usage, or a sign of life
        return "", False
    try:
        text, ends = choices[0].get(part, {}).get("content"), choices[0].get("finish_reason") is not None
    except (AttributeError, KeyError, IndexError, TypeError):
        raise ServiceError(f"{name} sent an event of another shape than OpenAI's chat route.") from None
    if text is not None and not isinstance(text, str):
        raise ServiceError(f"{name} sent something else than text.")
    return text or "", ends
