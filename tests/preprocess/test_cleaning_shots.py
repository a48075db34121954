import itertools
import json

import numpy as np
import pytest

from anchor.faces import Face, TrackSettings
from anchor.faces.face import canonical_box
from anchor.media import FrameReader, write_video
from anchor.preprocess import preprocess
from anchor.preprocess.cleaning.shots import ShotFinder
from anchor.preprocess.finding import FaceFinder
from anchor.shards import ShardSet
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip


def cuts_of(frames, first=0):
    finder = ShotFinder()
    cuts = [finder.add(index, frame) for index, frame in enumerate(frames, first)]
    return [cut for cut in cuts if cut is not None] + finder.finish()


@pytest.fixture(scope="module")
def shots():
    """Four drawn people in rooms of their own, 20 pictures each."""
    return [list(make_clip(draw_person(0, n), 0, seconds=0.8, size=128, noise=4 * n).frames()) for n in range(4)]


@pytest.mark.parametrize("lengths", [(20, 20, 20, 20), (7, 13, 3, 20), (1, 10, 10, 10), (12, 9, 20, 1), (9, 3, 9, 2)])
@pytest.mark.parametrize("first", [0, 21])
def test_a_drawn_film_has_exactly_its_cuts(shots, lengths, first):
    film = [frame for shot, length in zip(shots, lengths, strict=True) for frame in shot[:length]]
    assert cuts_of(film, first) == [first + place for place in itertools.accumulate(lengths[:-1])]


def test_the_cut_of_every_rendered_clip_is_found_and_nothing_else():
    for number in range(4):
        clip = make_clip(draw_person(1, number), 0, seconds=2.4, size=160, cut=True, noise=5 * number)
        assert cuts_of(clip.frames()) == clip.truth()["cut_frames"] == [30]


def test_moving_cameras_noise_and_slow_light_are_no_cuts():
    rng = np.random.default_rng(0)
    room = np.kron(rng.integers(60, 200, (20, 60, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    assert cuts_of(room[:, 8 * i : 8 * i + 320] for i in range(60)) == []
    assert (
        cuts_of(np.clip(room[:, :320] + rng.normal(0, 30, (320, 320, 3)), 0, 255).astype(np.uint8) for _ in range(9))
        == []
    )
    assert cuts_of((room[:, :320] * (0.2 + i / 50)).astype(np.uint8) for i in range(40)) == []


def test_real_cuts_are_found_and_talking_heads_have_none(data_dir):
    clips = data_dir / "data" / "clips"

    def found(name):
        finder, cuts = ShotFinder(), []
        for index, frame in FrameReader(clips / name, threads=1, backend="pyav"):
            cuts.append(finder.add(index, frame))
        return [cut for cut in cuts if cut is not None] + finder.finish()

    assert found("x01_multishot_2997fps.mp4") == [38, 89, 197]
    assert found("p09_woman_512px_25fps.mp4") == []
    assert found("p10_480px_25fps.mp4") == []  # its first picture is coarser than the others


class Everywhere:
    """Finds one face at one place in every picture and remembers which it saw: a stand-in for a detector."""

    name = "everywhere"

    def __init__(self):
        self.seen = []

    def detect(self, frame):
        self.seen.append(int(frame[0, 0, 0]))
        return [Face(canonical_box(60, 100, 80), 0.9)]


class InBatches(Everywhere):
    """The same in batches of three: a stand-in for a detector on a card."""

    batch_size = 3

    def shrink(self, frame):
        return frame.copy()

    def detect_small(self, smalls):
        assert 0 < len(smalls) <= self.batch_size
        return [self.detect(small) for small in smalls]

    def detect_batch(self, pictures):
        raise AssertionError("frames must not wait")


@pytest.mark.parametrize("kind", [Everywhere, InBatches])
def test_faces_are_looked_for_by_stride_and_on_both_sides_of_a_cut(shots, kind):
    detector = kind()
    finder = FaceFinder(detector, TrackSettings(stride=10))
    film = [frame.copy() for frame in (shots[0] * 2)[:23] + (shots[1] * 2)[:25]]
    for i, frame in enumerate(film):
        frame[0, 0] = i
        finder.add(i, frame)
    track = finder.result(48)
    assert finder.cuts == [23]
    assert sorted(detector.seen) == [0, 10, 20, 22, 23, 30, 40, 47]
    assert (track.ids >= 0).all()
    assert track.ids[22] != track.ids[23]


@pytest.mark.parametrize(("shots_key", "spans"), [("on", [(0, 31), (35, 80)]), ("off", [(0, 80)])])
def test_a_cut_ends_a_segment(tmp_path, monkeypatch, in_this_process, shots_key, spans):
    """The face stays where it is over the cut: only the room says that it is another shot."""
    monkeypatch.setattr("anchor.preprocess.clip._DETECTORS", {})
    monkeypatch.setattr("anchor.preprocess.clip.make_detector", lambda *_, **__: Everywhere())
    monkeypatch.setattr("anchor.preprocess.settings.get_args", lambda _: Anything())
    clips = [make_clip(draw_person(2, n), 0, seconds=2, size=128) for n in (0, 1)]
    frames = [*list(clips[0].frames())[:31], *list(clips[1].frames())[:49]]
    sound = np.concatenate([clip.samples for clip in clips])
    write_video(tmp_path / "film.mp4", iter(frames), audio=sound[: 80 * 640])
    preprocess(
        source=tmp_path / "film.mp4", out=tmp_path / "out", image_size=64, shots=shots_key, workers=1, segment_s=3.2
    )
    found = [(round(ShardSet(tmp_path / "out").read_meta(clip)["start_s"] * 25), clip.num_frames)
             for clip in ShardSet(tmp_path / "out").clips]  # fmt: skip
    if shots_key == "off":
        assert sum(length for _, length in found) == 80  # one stretch, halved so that something is held out
    else:
        assert sorted((start, start + length) for start, length in found) == spans
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["clips"][0]["facts"]
    assert facts["cuts"] == ([31] if shots_key == "on" else [])


class Anything:
    """Holds every word: the stand-in's name is none of the detectors'."""

    def __contains__(self, _):
        return True
