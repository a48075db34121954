"""A server in a thread, with an avatar that needs no video: a grey picture whose mouth the test network paints.

Functions that the drawing process calls must be found by a name of their own, so they do not stand in a conftest.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import torch
import uvicorn
from torch import nn

from anchor.errors import AnchorError
from anchor.serving.access import Access
from anchor.serving.admission import Settings
from anchor.serving.app import make_app
from anchor.serving.avatar import Action
from anchor.serving.drawing import Face
from anchor.serving.shelf import OpenAvatar
from anchor.serving.station import Station

SIZE = 96


class DrawnPictures:
    """Ten pictures; the red channel of the top left corner tells which."""

    width = height = 128

    def __init__(self, count: int = 10) -> None:
        self.pictures = np.full((count, 128, 128, 3), 90, np.uint8)
        self.pictures[:, 16:112, 16:112] = (200, 160, 140)
        self.pictures[:, 0, 0, 0] = np.arange(count)
        self.boxes_N4 = np.tile(np.float32([16, 16, 112, 112]), (count, 1))
        self.regions_N4 = np.tile(np.int32([16, 60, 112, 112]), (count, 1))
        self.presence_N = np.ones(count, np.float32)

    def __len__(self) -> int:
        return len(self.pictures)

    def picture(self, number: int) -> np.ndarray:
        return self.pictures[number].copy()

    rest = picture

    def crop(self, number: int) -> np.ndarray:
        return self.pictures[number, 16:112, 16:112]


class LoudMouth(nn.Module):
    """Paints the lower half as bright as its speech is loud: (N, 6, S, S), (N, 1, 80, 16) to (N, 3, S / 2, S)."""

    image_size = SIZE

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.25))

    def forward(self, stack: torch.Tensor, mels: torch.Tensor) -> torch.Tensor:
        loud = (mels.mean((1, 2, 3)) * self.scale).clamp(-1, 1)
        return loud[:, None, None, None].expand(len(mels), 3, SIZE // 2, SIZE)


def load_face(path: str) -> Face:
    """For the drawing process of a test."""
    if path == "missing":
        raise FileNotFoundError("missing: no such avatar.")
    return Face(LoudMouth(), np.full((10, SIZE, SIZE, 3), 128, np.uint8), np.arange(10)[:, None])


def open_avatar(path):
    """For the server of a test; a file called "bad" is one that cannot be used."""
    if (path / "bad").exists():
        raise NoAvatarError(f"{path} is no avatar.")
    return OpenAvatar(
        path.name, str(path), DrawnPictures(), Action("idle", 0, 10, "back_and_forth"), None, (Action("wave", 2, 8),)
    )


class NoAvatarError(AnchorError, ValueError):
    """What an avatar's reader would raise."""


class Server:
    """A server on a free port of this machine, in a thread of its own; everybody may speak, however busy it is."""

    def __init__(self, folder, access=None, speak=None, minds=None, outputs=None, **settings) -> None:
        self.folder = folder
        self.station = Station(open_avatar, load_face, Settings(**{"max_speaking": 16, **settings}), speak)
        app = make_app(self.station, access or Access(), lambda: self.station.start(folder), minds, outputs)
        self.ways = app.state.ways
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws_max_size=1 << 17))
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._uvicorn.started:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
