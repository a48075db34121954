"""A person, a network and the avatar of both, small enough for any test."""

import numpy as np
import pytest
import torch

from anchor.avatars import build
from anchor.faces import Face
from anchor.media.writer import write_video
from anchor.models import LipGenerator, describe

FACE_BOX = (60.0, 30.0, 142.0, 130.0)
EYES = ((82.0, 68.0), (120.0, 68.0))


class StandInDetector:
    """Finds one face at a fixed place, unless the picture is black: a stand-in for YuNet."""

    name = "stand-in"

    def detect(self, frame):
        points = np.array([*EYES, (101, 88), (88, 103), (114, 103)], np.float32)
        return [Face(np.array(FACE_BOX, np.float32), 0.9, points)] if frame.max() > 0 else []


@pytest.fixture(autouse=True)
def stand_in_detector(monkeypatch):
    monkeypatch.setattr("anchor.avatars.builder.make_detector", lambda name: StandInDetector())


@pytest.fixture(scope="session")
def picture():
    """A smooth picture with detail, 200 x 160."""
    y, x = np.mgrid[0:160, 0:200].astype(np.float32)
    channels = [128 + 60 * np.sin(x / 23 + k) + 40 * np.cos(y / 17 - k) for k in range(3)]
    return np.clip(np.stack(channels, -1), 20, 235).astype(np.uint8)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """An untrained generator as a stage leaves it."""
    torch.manual_seed(1)
    net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    path = tmp_path_factory.mktemp("net") / "net.ckpt"
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, path)
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory, picture):
    """60 frames whose brightness tells their number; a tone from frame 30 on."""
    path = tmp_path_factory.mktemp("video") / "me.mp4"
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(60 * 640) / 16_000).astype(np.float32)
    sound[: 30 * 640] = 0
    frames = (np.clip(picture.astype(int) + i // 2, 0, 255).astype(np.uint8) for i in range(60))
    write_video(path, frames, audio=sound)
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory, video, checkpoint):
    """An avatar with an action. Do not change it: copy it."""
    out = tmp_path_factory.mktemp("avatars") / "me"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anchor.avatars.builder.make_detector", lambda name: StandInDetector())
        build(video=video, checkpoint=checkpoint, out=out, name="Me", actions={"wave": "0.4-1.0"}, device="cpu")
    return out
