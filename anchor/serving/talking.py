"""The routes of conversations: questions as text, and a microphone."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import Depends, FastAPI, WebSocket
from pydantic import BaseModel, Field

from anchor.serving.access import Access, Key
from anchor.serving.conversation import MOST_QUESTION, Minds, Talks
from anchor.serving.doors import Needs
from anchor.serving.listening import Ears, listen
from anchor.serving.sockets import serve_socket
from anchor.serving.station import Station

__all__ = ["add_conversation"]


class _Chat(BaseModel):
    text: str = Field(max_length=MOST_QUESTION)
    interrupt: bool = False


def add_conversation(app: FastAPI, station: Station, access: Access, minds: Minds) -> None:
    """The routes of conversations."""
    talks, ears = Talks(station, minds), Ears(minds.recognizer)
    view, speak = (Depends(Needs(access, scope)) for scope in ("view", "speak"))

    @app.get("/api/conversation")
    async def ways(key: Key = view) -> dict[str, Any]:
        return {"chat": talks.can_answer, "microphone": ears.can_hear}

    @app.post("/api/sessions/{id}/chat", status_code=202)
    async def chat(id: str, body: _Chat, key: Key = speak) -> dict[str, Any]:
        live = station.find(id, key.name)
        await station.make_way(live, body.text, body.interrupt)
        return {"utterance": talks.ask(live, body.text), "epoch": live.session.timeline.epoch}

    @app.websocket("/api/sessions/{id}/microphone")
    async def microphone(socket: WebSocket, id: str) -> None:
        await serve_socket(socket, station, access, id, "speak", functools.partial(listen, ears, talks))
