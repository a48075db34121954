"""Recordings of sessions: what everybody watches, as a file that is playable at every moment.

While it grows, a recording is a fragmented MP4, ``NAME.recording.mp4``: whatever ends the process, all but the last
second is there. When it ends it becomes a plain ``NAME.mp4`` with its index first. What a process that was killed left
behind is completed at the next start. The names in the folder are the server's own: no path of a client is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from anchor.avatars import provenance
from anchor.errors import ConfigError, MediaError
from anchor.serving.admission import BusyError
from anchor.serving.child import start_child, stop_child
from anchor.serving.containers import FragmentedMp4
from anchor.serving.encoding import Packet
from anchor.serving.feed import KINDS, feed
from anchor.serving.live import Live
from anchor.serving.station import UnknownError
from anchor.timing import FPS

__all__ = ["GROWING", "Recording", "Recordings"]

GROWING = ".recording.mp4"
# A fragment of a second: what a kill may cost. The tail of the file is then a whole box.
OPTIONS = {"movflags": "empty_moov+default_base_moof", "frag_duration": "1000000"}
RESERVE_BYTES = 256 * 2**20  # of the disk are left to others: a recording ends there
MOST_KNOWN = 1000  # finished recordings whose names are kept: the files stay
FINISH_S = 300.0  # s for copying a recording; an hour at 2 Mbit/s has 0.9 GB


class _EndError(Exception):
    """Why a recording cannot go on."""


@dataclass(eq=False)
class Recording:
    """One film, growing or finished."""

    name: str
    owner: str
    session: str  # its id
    growing: Path
    path: Path | None = None  # when it is finished
    seconds: float = 0.0
    num_bytes: int = 0
    reason: str = ""  # why it ended, where nobody asked for it
    avatars: dict[str, str] = field(default_factory=dict)  # who is seen, by id
    is_wanted: asyncio.Event = field(default_factory=asyncio.Event)  # set: it shall end
    task: asyncio.Task[None] | None = None
    state: str = "recording"  # then "finished", or "empty" where it ended before the first picture

    def tell(self) -> dict[str, object]:
        """What clients learn of it."""
        told = {"name": self.name, "state": self.state, "seconds": round(self.seconds, 2), "bytes": self.num_bytes}
        return {**told, **({"reason": self.reason} if self.reason else {})}


class Recordings:
    """The recordings of a server in one folder.

    Args:
        folder: where they go; it is made.
        most_minutes: of one recording, which ends then.
        most_bytes: of the folder; beyond it nothing new is begun, and what grows ends.

    Raises:
        ConfigError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, most_minutes: float = 60.0, most_bytes: int = 20 * 10**9) -> None:
        self.folder, self._most_s, self._most_bytes = folder, 60 * most_minutes, most_bytes
        self._all: dict[str, Recording] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            raise ConfigError(f"recordings={folder} cannot be written to ({error.strerror}). Give another.") from None

    def of(self, live: Live) -> Recording | None:
        """The newest recording of a session, growing or finished."""
        return self.of_session(live.id)

    def of_session(self, id: str) -> Recording | None:
        """The same by the session's id, also when that has ended."""
        return next((one for one in reversed(self._all.values()) if one.session == id), None)

    def find(self, name: str, owner: str) -> Recording:
        """A finished recording by name, which the owner alone may find.

        Raises:
            UnknownError: there is none.
        """
        found = self._all.get(name)
        if found is None or found.owner != owner or found.path is None or not found.path.is_file():
            raise UnknownError("There is no finished recording of that name.")
        return found

    def begin(self, live: Live) -> Recording:
        """Record a session from its next key frame on.

        Raises:
            ConfigError: it is being recorded.
            BusyError: the folder or the disk is full, or cannot be written to.
        """
        before = self.of(live)
        if before is not None and before.state == "recording":
            raise ConfigError(f"This session is being recorded, as {before.name}. End that first.")
        try:
            reason = self._no_room(0)
        except OSError as error:
            reason = f"The folder of the recordings cannot be read: {error.strerror}."
        if reason:
            raise BusyError(reason)
        avatar = re.sub(r"[^A-Za-z0-9]+", "-", live.avatar.name).strip("-")[:32] or "avatar"
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{avatar}-{secrets.token_hex(6)}.mp4"
        one = Recording(name, live.owner, live.id, self.folder / (name[:-4] + GROWING))
        try:
            file = os.open(one.growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        except OSError as error:
            raise BusyError(f"The folder of the recordings cannot be written to: {error.strerror}.") from None
        self._all[name] = one
        for old in [old.name for old in self._all.values() if old.state != "recording"][:-MOST_KNOWN]:
            del self._all[old]
        live.holders.add(one)
        live.told["recording"] = one.tell
        live.tell("recording", one.tell())
        one.task = asyncio.get_running_loop().create_task(self._record(live, one, file))

        async def close() -> None:
            await self.end(live)

        live.closers.add(close)
        return one

    async def end(self, live: Live) -> Recording:
        """End a session's recording, and wait until it is a plain file.

        Raises:
            UnknownError: there is none.
        """
        one = self.of(live)
        if one is None or one.task is None:
            raise UnknownError("This session is not recorded.")
        one.is_wanted.set()
        await asyncio.shield(one.task)
        return one

    async def finish_left(self) -> list[str]:
        """Complete what a server that was killed left in the folder; their names."""
        names = []
        for growing in sorted(self.folder.glob("*" + GROWING)):
            with contextlib.suppress(OSError), growing.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of another server that records into this folder
                path = growing.with_name(growing.name[: -len(GROWING)] + ".mp4")
                if await self._finish(growing, path, {}) == path:
                    names.append(path.name)
        return names

    async def _record(self, live: Live, one: Recording, file: int) -> None:
        session = live.session
        self._see(live, one)
        film = FragmentedMp4(session.width, session.height, OPTIONS, _tags(one))
        loop, first = asyncio.get_running_loop(), None

        async def take(packet: Packet) -> None:
            nonlocal first
            if packet.kind == "h264":
                first = packet.pts if first is None else first
                one.seconds = (packet.pts + 1 - first) / FPS
                if packet.is_key:
                    self._see(live, one)
            for piece in film.add(packet):
                await loop.run_in_executor(None, self._write, file, one, piece)
            if one.seconds >= self._most_s:
                raise _EndError(f"It has the {self._most_s / 60:g} minutes that a recording may have.")

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            feeding = asyncio.ensure_future(feed(session.hub.join(KINDS), take))
            wish = asyncio.ensure_future(one.is_wanted.wait())
            try:
                await asyncio.wait({feeding, wish}, return_when=asyncio.FIRST_COMPLETED)
                if feeding.done():
                    feeding.result()
            finally:
                wish.cancel()
                feeding.cancel()
                await asyncio.gather(feeding, wish, return_exceptions=True)
        except (_EndError, MediaError, OSError) as error:
            one.reason = str(error)
        try:
            for piece in film.close():  # the last fragment, where there is still room for it
                await loop.run_in_executor(None, self._write, file, one, piece)
        except (_EndError, MediaError, OSError) as error:
            one.reason = one.reason or str(error)
        finally:
            await self._complete(live, one, file)

    async def _complete(self, live: Live, one: Recording, file: int) -> None:
        try:
            if one.num_bytes:
                one.path = await self._finish(one.growing, self.folder / one.name, _tags(one))
            else:
                one.growing.unlink()
        except OSError as error:  # the fragments play too, and the next start of the server completes them
            one.reason = one.reason or f"It could not be completed: {error.strerror}."
            one.path = one.growing if one.num_bytes and one.growing.exists() else None
        finally:
            one.state = "finished" if one.path is not None else "empty"
            os.close(file)  # until here it is locked: another server leaves it alone
            if one.path is not None:
                one.num_bytes = one.path.stat().st_size
            live.holders.discard(one)
            live.tell("recording", one.tell())

    async def _finish(self, growing: Path, path: Path, tags: dict[str, str]) -> Path:
        """``growing`` as a plain file ``path``; where that cannot be, the fragments under that name, which play too."""
        aside = path.with_name(f".{path.stem}.finishing.mp4")
        child = await start_child("finishing", str(growing), str(aside))
        try:
            await asyncio.wait_for(child.communicate(json.dumps(tags).encode()), FINISH_S)
        except asyncio.TimeoutError:
            pass
        finally:
            await stop_child(child, 0.1)
        if child.returncode == 0 and aside.exists():
            aside.replace(path)
            growing.unlink(missing_ok=True)
        else:
            aside.unlink(missing_ok=True)
            growing.replace(path)
        return path

    def _write(self, file: int, one: Recording, piece: bytes) -> None:
        """In a thread: the disk may be slow. Whole boxes or nothing."""
        if reason := self._no_room(len(piece)):
            raise _EndError(reason)
        done = 0
        try:
            while done < len(piece):
                done += os.pwrite(file, piece[done:], one.num_bytes + done)
        except OSError as error:
            os.ftruncate(file, one.num_bytes)
            raise _EndError(f"It could not be written on: {error.strerror}.") from None
        one.num_bytes += len(piece)

    def _no_room(self, num_bytes: int) -> str:
        """Why nothing more can be written; empty where it can."""
        if shutil.disk_usage(self.folder).free < RESERVE_BYTES + num_bytes:
            return f"The disk of the recordings is full but for {RESERVE_BYTES >> 20} MB, which are left to others."
        used = 0
        for path in self.folder.glob("*.mp4"):
            with contextlib.suppress(FileNotFoundError):  # it has just ended under another name, or was removed
                used += path.stat().st_size
        if used + num_bytes > self._most_bytes:
            return f"The recordings have the {self._most_bytes / 1e9:g} GB that they may have. Remove some."
        return ""

    @staticmethod
    def _see(live: Live, one: Recording) -> None:
        one.avatars[live.avatar.id] = live.avatar.name


def _tags(one: Recording) -> dict[str, str]:
    return provenance(", ".join(one.avatars.values()), ", ".join(one.avatars))
