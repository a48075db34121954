import numpy as np
import pytest
from saved_networks import save_network as save_checkpoint

from anchor.faces import Face
from anchor.media.writer import write_video

FACE_BOX = (60.0, 30.0, 142.0, 130.0)


@pytest.fixture
def save_network(tmp_path):
    """A checkpoint as a stage leaves it."""

    return lambda net, name="net.ckpt": save_checkpoint(tmp_path / name, net)


class StandInDetector:
    """Finds one face at a fixed place, unless the picture is black: a stand-in for YuNet."""

    name = "stand-in"

    def detect(self, frame):
        return [Face(np.array(FACE_BOX, np.float32), 0.9)] if frame.max() > 0 else []


@pytest.fixture
def stand_in_detector(monkeypatch):
    monkeypatch.setattr("anchor.inference.dub.make_detector", lambda name: StandInDetector())
    return StandInDetector()


@pytest.fixture
def picture():
    """A smooth picture with detail, 200 x 160."""
    y, x = np.mgrid[0:160, 0:200].astype(np.float32)
    channels = [128 + 70 * np.sin(x / 23 + k) + 40 * np.cos(y / 17 - k) for k in range(3)]
    return np.clip(np.stack(channels, -1), 1, 255).astype(np.uint8)


@pytest.fixture
def face_video(tmp_path, picture):
    """13 frames whose brightness tells their number."""

    def write(num_frames=13, name="face.mp4"):
        path = tmp_path / name
        write_video(path, (np.clip(picture.astype(int) + 4 * i, 0, 255).astype(np.uint8) for i in range(num_frames)))
        return path

    return write


@pytest.fixture
def speech(tmp_path):
    """A tone of a chosen length as a wav."""
    import wave

    def write(seconds, rate=16_000, name="speech.wav"):
        path = tmp_path / name
        samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        return path

    return write


@pytest.fixture
def good(tmp_path, small_generator, save_network, stand_in_detector, face_video, speech):
    """Arguments of `infer` that work: half a second."""
    return {
        "face": face_video(),
        "speech": speech(0.5),
        "checkpoint": save_network(small_generator),
        "out": tmp_path / "out.mp4",
        "device": "cpu",
    }
