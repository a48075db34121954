"""What LiveTalking's clients ask of a session: watch, say, answer, upload, interrupt, record, act.

A sessionid is 16 digits: older pages read it as a number (it stays below 2^53), newer ones as a text, and some name
none, or 0: those mean the session that their browser opened last, which a cookie tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection
from fastapi import Request

from anchor.errors import ConfigError
from anchor.serving.access import Key
from anchor.serving.conversation import Talks
from anchor.serving.live import Live
from anchor.serving.outputs import Ways
from anchor.serving.station import Station, UnknownError
from anchor.serving.uploads import play, read_form, read_sound
from anchor.serving.webrtc import show
from anchor.speech.text import clean_text

__all__ = ["SESSION_COOKIE", "LiveTalking"]

SESSION_COOKIE = "anchor_livetalking"
NOT_NAMED = "0"  # what its pages hold before they have a session, and send where they have none
FIRST_ID, NUM_IDS = 10**15, 2**53 - 10**15
MOST_ENDED = 1000  # sessions whose recordings may still be asked for
FIRST_ACTION = 2  # audiotype 0 and 1 are speaking and silence there; custom ones begin here


class LiveTalking:
    """The sessions that its clients opened, by their own ids."""

    def __init__(self, station: Station, ways: Ways, talks: Talks) -> None:
        self._station, self._ways, self._talks = station, ways, talks
        self._ids: dict[str, tuple[str, str]] = {}  # sessionid: session's id and owner; those that ended too
        self._speech: dict[str, asyncio.Task[None]] = {}  # of uploaded sound, one after the other, by session's id
        self._closing: set[asyncio.Task[None]] = set()

    def find(self, about: Mapping[str, Any], request: Request, key: Key) -> Live:
        """The session that a request names, or else the one that its browser opened last.

        Raises:
            UnknownError: there is none, or it is another's.
        """
        named = str(about.get("sessionid") or 0)
        id, owner = self._ids.get(request.cookies.get(SESSION_COOKIE, "") if named == NOT_NAMED else named, ("", ""))
        if owner != key.name:
            raise UnknownError("session not found")
        return self._station.find(id, key.name)

    async def offer(self, request: Request, key: Key) -> Mapping[str, Any]:
        """A new session and its viewer."""
        about = await _json(request)
        live = self._station.open(_text(about, "avatar", 64), key.name)
        try:
            peer, answer = await show(live, _text(about, "sdp"))
        except BaseException:
            await self._station.close(live)
            raise
        sessionid = str(FIRST_ID + secrets.randbelow(NUM_IDS))
        for old in list(self._ids)[: max(0, len(self._ids) - MOST_ENDED - len(self._station.sessions))]:
            if self._ids[old][0] not in self._station.sessions:
                del self._ids[old]
        self._ids[sessionid] = (live.id, key.name)
        peer.on("connectionstatechange", lambda: self._end_with(live, peer))
        return {"sdp": answer, "type": "answer", "sessionid": sessionid}

    async def human(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Say a text, or answer it."""
        about = await _json(request)
        live, kind, text = self.find(about, request, key), _text(about, "type"), _text(about, "text").replace("**", "")
        clean_text(text)  # refused before it interrupts anything
        if kind not in ("echo", "chat"):
            raise ConfigError(f"type={kind[:20]!r} is neither echo nor chat.")
        if about.get("interrupt"):
            await self._interrupt(live)
        if kind == "echo":
            self._station.say(live, text)
        else:
            self._talks.ask(live, text)
        return {"data": "ok"}

    async def human_audio(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Say a recording."""
        kind, body = request.headers.get("content-type", ""), await request.body()
        form = await asyncio.get_running_loop().run_in_executor(None, read_form, kind, body)
        live = self.find({"sessionid": form.get("sessionid", b"").decode("ascii", "replace")}, request, key)
        if "file" not in form:
            raise ConfigError("The form has no file.")
        self._station.door.admit(live)
        epoch = live.session.timeline.epoch
        sound_L4 = await asyncio.get_running_loop().run_in_executor(None, read_sound, form["file"])
        before = self._speech.get(live.id)

        async def speak() -> None:
            if before is not None:
                await asyncio.wait({before})
            await play(live, sound_L4, epoch)

        task = self._speech[live.id] = asyncio.get_running_loop().create_task(speak())
        live.closers.add(task.cancel)

        def forget(done: asyncio.Task[None]) -> None:
            live.closers.discard(done.cancel)
            if self._speech.get(live.id) is done:
                del self._speech[live.id]

        task.add_done_callback(forget)
        return {"data": "ok"}

    async def interrupt_talk(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Be silent."""
        await self._interrupt(self.find(await _json(request), request, key))
        return {"data": "ok"}

    async def is_speaking(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Whether anything is said, or waits to be."""
        live = self.find(await _json(request), request, key)
        return {"data": live.is_speaking or live.id in self._speech}

    async def record(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Begin or end a recording."""
        about = await _json(request)
        live, kind = self.find(about, request, key), _text(about, "type")
        if kind == "start_record":
            self._ways.recorder().begin(live)
        elif kind == "end_record":
            await self._ways.recorder().end(live)
        else:
            raise ConfigError(f"type={kind[:20]!r} is neither start_record nor end_record.")
        return {"data": "ok"}

    def film(self, sessionid: str, key: Key) -> Path:
        """The newest finished recording of a session, also when that has ended.

        Raises:
            UnknownError: there is none.
        """
        id, owner = self._ids.get(sessionid, ("", ""))
        found = self._ways.recorder().of_session(id) if owner == key.name else None
        if found is None:
            raise UnknownError("There is no recording of this session.")
        path = self._ways.recorder().find(found.name, key.name).path
        assert path is not None
        return path

    async def set_audiotype(self, request: Request, key: Key) -> Mapping[str, Any]:
        """Show an action: 2 is the avatar's first one, or by its name; 0 and 1 are the avatar as it is."""
        about = await _json(request)
        live, wanted = self.find(about, request, key), about.get("audiotype")
        actions = live.avatar.actions
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            if 0 <= wanted < FIRST_ACTION:
                return {"data": "ok"}
            place = wanted - FIRST_ACTION
            wanted = actions[place].name if 0 <= place < len(actions) else str(wanted)
        if not isinstance(wanted, str) or not live.session.act(wanted):
            raise UnknownError(f"This avatar has no action for audiotype={str(wanted)[:40]!r}.")
        return {"data": "ok"}

    async def _interrupt(self, live: Live) -> None:
        task = self._speech.pop(live.id, None)
        if task is not None:
            task.cancel()
        await live.director.interrupt()

    def _end_with(self, live: Live, peer: RTCPeerConnection) -> None:
        """End a session with its viewer's connection: its clients have no other way to say that they leave."""
        if peer.connectionState in ("closed", "failed"):
            closing = asyncio.get_running_loop().create_task(self._station.close(live))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _json(request: Request) -> dict[str, Any]:
    """The body, of a request that no form of another site can send."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ConfigError("Send JSON: Content-Type: application/json.")
    about = None
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(await request.body())
    if not isinstance(about, dict):
        raise ConfigError("The request is no JSON object.")
    return about


def _text(about: Mapping[str, Any], name: str, most: int = 10_000_000) -> str:
    value = about.get(name) or ""
    if not isinstance(value, str) or len(value) > most:
        raise ConfigError(f"{name} is no text, or too long.")
    return value
