"""Avatars of `anchor avatar build`, as the server and the drawing process hold them.

Pictures are numbered through all clips of the avatar, one clip after the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anchor.avatars.avatar import Avatar
from anchor.serving.avatar import Action
from anchor.serving.drawing import Face
from anchor.serving.shelf import OpenAvatar

__all__ = ["PackageStage", "load_face", "open_avatar"]

CACHE_BYTES = 96 * 2**20  # of decoded pictures of each clip, shared by all sessions


class PackageStage:
    """The pictures of an avatar by number."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self.width, self.height = (side - side % 2 for side in avatar.size)
        clips = list(avatar.clips.values())
        self._places = [(clip, number) for clip in clips for number in range(clip.facts.num_frames)]
        self.boxes_N4 = np.concatenate([clip.faces.boxes for clip in clips])
        self.presence_N = np.concatenate([clip.faces.presence for clip in clips])
        self.regions_N4 = np.concatenate([clip.faces.regions for clip in clips])

    def __len__(self) -> int:
        return len(self._places)

    def picture(self, number: int) -> np.ndarray:
        """uint8 RGB (H, W, 3), as it was filmed."""
        clip, frame = self._places[number]
        return clip.pictures[frame]

    def rest(self, number: int) -> np.ndarray:
        """uint8 RGB (H, W, 3), with the mouth at rest."""
        clip, frame = self._places[number]
        return clip.rest_pictures[frame]

    def crop(self, number: int) -> np.ndarray:
        """uint8 RGB (S, S, 3), the face as the network sees it."""
        clip, frame = self._places[number]
        return clip.faces.crop(frame)


def open_avatar(path: Path) -> OpenAvatar:
    """An avatar in the server's memory.

    Raises:
        AvatarError: it cannot be used; says why.
    """
    avatar = Avatar.open(path, cache_bytes=CACHE_BYTES)
    stage, begin, loops = PackageStage(avatar), 0, {}
    for name, clip in avatar.clips.items():
        facts = clip.facts
        loops[name] = Action(name, begin + facts.first, begin + facts.stop, facts.loop)
        begin += facts.num_frames
    actions = tuple(loops[name] for name in avatar.actions)
    return OpenAvatar(avatar.name, str(path), stage, loops["idle"], loops.get("speaking"), actions, id=avatar.id)


def load_face(path: str) -> Face:
    """The same avatar in the drawing process.

    Raises:
        AvatarError: it cannot be used; says why.
    """
    avatar = Avatar.open(Path(path), check_sums=False)
    crops, references, begin = [], [], 0
    for clip in avatar.clips.values():
        count = clip.facts.num_frames
        crops += [clip.faces.crop(number) for number in range(count)]
        references.append(clip.faces.references + begin)  # (T, R)
        begin += count
    network = avatar.load_generator("cpu")
    avatar.close()
    return Face(network, np.stack(crops), np.concatenate(references))
