"""The fine-tune's landmark term: a reader is fitted to the person's marked frames before the first step."""

import numpy as np
import pytest

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from anchor.faces.points import Landmarks
from launch import lips
from launch.lips import teach_lips


class Person:
    """Stands in for shards: 400 frames whose mouth is as dark as it is open, and 100 that are held out."""

    clips = (ClipEntry("a", "a", "train", 250), ClipEntry("b", "a", "train", 150), ClipEntry("c", "a", "val", 100))

    def __init__(self):
        self.asked = []

    def read_frames(self, clip, frames):
        self.asked += [(clip.key, frame) for frame in frames]
        openings = np.random.default_rng(len(clip.key)).random(len(frames))
        faces = np.full((len(frames), 48, 48, 3), 180, np.uint8)
        faces[:, 28:44, 12:36] -= (100 * openings).astype(np.uint8)[:, None, None, None]
        return faces


class Marker:
    """Stands in for a landmark model: the lips' gap is told by the darkness; only so many frames show a face."""

    name = "stand-in"

    def __init__(self, finds=10**9):
        self.finds = finds

    def landmarks(self, frame, face):
        self.finds -= 1
        if self.finds < 0:
            return None
        points = np.random.default_rng(0).random((68, 2)).astype(np.float32)
        points[36:48] = [[100, 100]] * 6 + [[200, 100]] * 6
        gap = 180 - float(frame[int(0.7 * frame.shape[0]), frame.shape[1] // 2].mean())
        points[61:64], points[65:68] = (150, 200), (150, 200 + gap)
        return Landmarks(points, "ibug68")


def test_it_looks_at_the_material_alone_and_says_how_well_it_reads(monkeypatch, capsys):
    monkeypatch.setattr(lips, "make_landmarks", lambda name: Marker())
    person = Person()
    reader = teach_lips(person, "mediapipe", 48)
    assert {clip for clip, _ in person.asked} == {"a", "b"}
    assert len(person.asked) <= lips.MAX_FRAMES
    assert reader.weights_PK.shape[1] == len(lips.MEASURES)
    assert (
        "200 frames marked by stand-in; of the last 40, kept aside, it reads opening r 1.00" in capsys.readouterr().err
    )


def test_too_few_marked_frames_end_in_a_sentence(monkeypatch):
    monkeypatch.setattr(lips, "make_landmarks", lambda name: Marker(finds=7))
    with pytest.raises(ConfigError, match=r"sees lips in 7 of 200 frames.*set module.landmark_weight=0"):
        teach_lips(Person(), "mediapipe", 48)


def test_no_landmarks_here_end_in_a_sentence():
    with pytest.raises(ConfigError, match=r"landmark_weight needs landmarks, and module\.landmarks=none has none here"):
        teach_lips(Person(), "none", 48)
