"""The avatars on air: opened from a folder, measured, exchanged while sessions go on.

An avatar that has changed gets another key in the drawing process; sessions keep the pictures and the mouths that they
began with until they pick an avatar again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from anchor.errors import AnchorError
from anchor.serving.avatar import Action, StagePictures, Walk
from anchor.serving.capacity import Cost, measure_pictures
from anchor.serving.drawer import Drawer

__all__ = ["Changes", "OpenAvatar", "Shelf"]

MANIFEST = "avatar.json"


@dataclass(frozen=True)
class OpenAvatar:
    """An avatar as the server shows it."""

    name: str
    path: str
    stage: StagePictures
    idle: Action
    speaking: Action | None = None  # where it does not speak while idling goes on
    actions: tuple[Action, ...] = ()
    id: str = ""  # of its package, that changes with any of its files
    key: str = ""  # what the drawing process knows this version by

    def walk(self) -> Walk:
        """For a session of its own."""
        return Walk(self.idle, self.speaking, self.actions)


@dataclass
class Changes:
    """What a look into the folder brought; names, and a sentence for each avatar that cannot be used."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Shelf:
    """All avatars by name.

    Args:
        open_avatar: makes an avatar of a path in the server's memory; called in a thread.
        drawer: the drawing process, which loads each of them too.
    """

    def __init__(self, open_avatar: Callable[[Path], OpenAvatar], drawer: Drawer) -> None:
        self._open_avatar, self._drawer = open_avatar, drawer
        self._stamps: dict[Path, object] = {}  # of the folders that are on air
        self._names: dict[Path, str] = {}
        self._lock = asyncio.Lock()
        self._num_versions = 0
        self.avatars: dict[str, OpenAvatar] = {}
        self.costs: dict[str, Cost] = {}  # by key, of old versions too

    async def load(self, folder: Path) -> Changes:
        """Take in what is new or changed in ``folder``, a folder of avatars or one; let go of what is not there.

        An avatar that cannot be used is refused with a sentence, and what was on air under its name stays there.
        """
        async with self._lock:
            changes = Changes()
            folders = self._folders(folder)
            for one in folders:
                stamp = _stamp(one)
                if stamp is not None and self._stamps.get(one) == stamp:
                    continue
                try:
                    name, is_new = await self._take(one)
                except AnchorError as error:
                    changes.refused.append(f"{one.name}: {error}")
                    continue
                self._stamps[one] = stamp
                (changes.added if is_new else changes.changed).append(name)
            for gone in [path for path in self._names if path not in folders]:
                name = self._names.pop(gone)
                self._stamps.pop(gone, None)
                if self.avatars[name].path == str(gone):
                    del self.avatars[name]
                    changes.removed.append(name)
            return changes

    def forget_unused(self, keys: Collection[str]) -> None:
        """Free old versions that no session shows; ``keys`` are those that are shown."""
        kept = {avatar.key for avatar in self.avatars.values()} | set(keys)
        for key in [key for key in self.costs if key not in kept]:
            del self.costs[key]
            self._drawer.forget(key)

    def _folders(self, folder: Path) -> list[Path]:
        if (folder / MANIFEST).is_file():
            return [folder]
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    async def _take(self, folder: Path) -> tuple[str, bool]:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(None, self._open_avatar, folder)
        held = self.avatars.get(opened.name)
        if held is not None and held.path != str(folder):
            raise AnchorError(f"another avatar is named {opened.name!r}: {held.path}. Build one of them with name=.")
        self._num_versions += 1
        key = f"{opened.name} #{self._num_versions}"
        mouths = await self._drawer.add(key, str(folder))
        pictures = await loop.run_in_executor(None, measure_pictures, opened.stage)
        self.costs[key] = Cost(mouths, *pictures)
        before = self._names.get(folder)
        if before is not None and before != opened.name:
            self.avatars.pop(before, None)
        self.avatars[opened.name] = dataclasses.replace(opened, key=key)
        self._names[folder] = opened.name
        return opened.name, held is None


def _stamp(folder: Path) -> object:
    """What is another when the avatar is; None where that cannot be told."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
