"""An avatar that is open: its clips by name, its pictures and faces by number, its network.

Memory is bounded: compressed pictures and crops stay in their files, decoded ones in caches of a fixed size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from anchor.avatars.faces import ClipFaces, read_faces
from anchor.avatars.package import ClipFacts, Package, read_package
from anchor.avatars.pictures import CACHE_BYTES, ClipPictures
from anchor.inference.dub import load_generator

__all__ = ["Avatar", "AvatarClip"]


class AvatarClip:
    """One clip: pictures as they were filmed, pictures with the mouth at rest, faces.

    The first two are the same where nobody speaks in the clip.
    """

    def __init__(self, package: Package, facts: ClipFacts, cache_bytes: int) -> None:
        folder = package.path / "clips"
        self.facts = facts
        self.pictures = ClipPictures(folder / f"{facts.name}.mp4", facts.num_frames, package.size, cache_bytes)
        self.rest_pictures = self.pictures
        if facts.has_rest:
            rest = folder / f"{facts.name}.rest.mp4"
            self.rest_pictures = ClipPictures(rest, facts.num_frames, package.size, cache_bytes)
        self.faces: ClipFaces = read_faces(
            folder / f"{facts.name}.safetensors", facts.num_frames, package.size, package.crop_size
        )

    def order(self, num_out: int, begin: int = 0) -> np.ndarray:
        """int64 (num_out,): the pictures to show, one a tick, from tick ``begin`` of the clip's loop on.

        A clip that is shown once stays at its last picture.
        """
        tick_N = np.arange(begin, begin + num_out)
        length = self.facts.stop - self.facts.first
        if self.facts.loop == "around":
            return self.facts.first + tick_N % length
        if self.facts.loop == "once":
            return self.facts.first + np.minimum(tick_N, length - 1)
        place_N = tick_N % max(1, 2 * (length - 1))
        return self.facts.first + np.where(place_N < length, place_N, 2 * (length - 1) - place_N)

    def close(self) -> None:
        """Let go of the files."""
        self.pictures.close()
        self.rest_pictures.close()


class Avatar:
    """An open package; :meth:`open` checks it."""

    def __init__(self, package: Package, cache_bytes: int = CACHE_BYTES) -> None:
        self.package, self.path, self.name, self.id = package, package.path, package.name, package.id
        self.size, self.crop_size = package.size, package.crop_size
        self.clips = {name: AvatarClip(package, facts, cache_bytes) for name, facts in package.clips.items()}

    @classmethod
    def open(cls, path: Path, check_sums: bool = True, cache_bytes: int = CACHE_BYTES) -> Avatar:
        """The avatar in the folder ``path``; ``cache_bytes`` bounds the decoded pictures of each video.

        Raises:
            AvatarError: it is no avatar, of another version, damaged, or holds what it must not.
        """
        return cls(read_package(Path(path), check_sums), cache_bytes)

    @property
    def idle(self) -> AvatarClip:
        """Where the person waits."""
        return self.clips["idle"]

    @property
    def speaking(self) -> AvatarClip:
        """Where the person speaks: the idle clip, so that nothing jumps, unless the avatar has another one."""
        return self.clips.get("speaking", self.idle)

    @property
    def actions(self) -> dict[str, AvatarClip]:
        """The gestures by name."""
        return {name: clip for name, clip in self.clips.items() if clip.facts.kind == "action"}

    def load_generator(self, device: str = "auto") -> nn.Module:
        """Its network in eval mode on ``device``.

        Raises:
            CheckpointError: it is damaged.
            DeviceError: the device is absent.
        """
        return load_generator(self.path / "network", device)

    def close(self) -> None:
        """Let go of all files."""
        for clip in self.clips.values():
            clip.close()
