import numpy as np
import pytest

from anchor.faces import Face, FaceTracker, TrackSettings, is_frontal, track_faces
from anchor.faces.detect import canonical_box
from anchor.faces.track import separate_faces


def face(x, y=100.0, height=80.0, score=0.9):
    return Face(canonical_box(x, y + height / 2, height), score)


def centres(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_a_moving_face_is_followed_without_delay():
    found = {i: [face(100 + 0.8 * i)] for i in range(0, 101, 5)}
    track = track_faces(found, 101)
    np.testing.assert_allclose(centres(track.boxes)[:, 0], 100 + 0.8 * np.arange(101), atol=0.05)
    assert (track.ids == 0).all()
    assert track.hit_rate == 1


def test_jitter_is_smoothed():
    rng = np.random.default_rng(0)
    found = {i: [face(100 + rng.normal(0, 2), height=80 + rng.normal(0, 4))] for i in range(0, 201, 5)}
    boxes = track_faces(found, 201).boxes
    assert np.abs(np.diff(centres(boxes)[:, 0])).max() < 0.8
    heights = boxes[:, 3] - boxes[:, 1]
    assert np.abs(np.diff(heights)).max() < 0.15
    assert abs(heights.mean() - 80) < 1.5


@pytest.mark.parametrize("place", [0, 50, 100])
def test_one_wrong_size_does_not_zoom(place):
    found = {i: [face(100, height=104 if i == place else 80)] for i in range(0, 101, 5)}
    boxes = track_faces(found, 101).boxes
    np.testing.assert_allclose(boxes[:, 3] - boxes[:, 1], 80, atol=0.01)


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    found = {i: [] if 30 <= i < 45 or 100 <= i < 160 else [face(100)] for i in range(0, 201, 5)}
    track = track_faces(found, 201)
    assert (track.ids[:96] == track.ids[0]).all()
    assert np.isnan(track.boxes[96:160]).all()
    assert (track.ids[96:160] == -1).all()
    assert track.ids[170] not in (-1, track.ids[0])


def test_a_jump_and_a_cut_end_a_track():
    found = {i: [face(100 if i < 50 else 250)] for i in range(0, 101, 5)}
    jumped = track_faces(found, 101)
    assert jumped.ids[45] != jumped.ids[50]
    assert (jumped.ids[46:50] == -1).all()
    same_place = {i: [face(100)] for i in [*range(0, 101, 5), 51, 52]}
    cut = track_faces(same_place, 101, cuts=[52])
    assert cut.ids[51] != cut.ids[52]
    assert cut.ids.min() == 0


def test_the_large_and_lasting_face_wins():
    found = {i: [face(300, height=60), face(100, height=90)] for i in range(0, 101, 5)}
    found[50].append(face(200, height=200, score=0.95))  # one large flash
    track = track_faces(found, 101)
    np.testing.assert_allclose(centres(track.boxes)[:, 0], 100, atol=0.1)


def test_false_detections_do_not_win():
    rng = np.random.default_rng(3)
    found = {i: [face(100, height=60, score=0.8)] if i < 60 else [] for i in range(0, 121, 5)}
    for i in found:  # a shirt that is taken for a face, and clutter at random places
        found[i] += [face(180, height=90, score=0.2), face(rng.uniform(0, 320), height=70, score=0.5)]
    track = track_faces(found, 121)
    np.testing.assert_allclose(centres(track.boxes)[:56, 0], 100, atol=0.1)
    assert (track.ids[65:] == -1).all()


def test_a_profile_is_no_frontal_face():
    def turned(nose_x):
        points = np.array([[80, 80], [110, 80], [nose_x, 100], [84, 120], [106, 120]], np.float32)
        return Face(canonical_box(95, 140, 85), 0.9, points)

    assert is_frontal(turned(95))
    assert is_frontal(turned(88))
    assert not is_frontal(turned(78))
    assert is_frontal(face(100))  # Haar gives no keypoints, and finds no profiles


class Everywhere:
    """Finds one face in every picture and remembers which it saw: a stand-in for a detector."""

    name = "everywhere"

    def __init__(self):
        self.seen = []

    def detect(self, frame):
        self.seen.append(int(frame[0, 0, 0]))
        return [face(100)]


def test_pictures_are_looked_at_by_stride_and_at_cuts():
    detector = Everywhere()
    tracker = FaceTracker(detector, TrackSettings(stride=10))
    rng = np.random.default_rng(0)
    rooms = rng.integers(0, 255, (2, 64, 64, 3), np.uint8)
    for i in range(48):
        picture = rooms[int(i >= 23)].copy()
        picture[0, 0] = i
        tracker.add(i, picture)
    track = tracker.result(48)
    assert sorted(detector.seen) == [0, 10, 20, 22, 23, 30, 40, 47]
    assert track.ids[22] != track.ids[23]
    assert (track.ids >= 0).all()


def test_faces_are_kept_apart_and_found_again():
    found = {i: [face(100), face(300, height=60)] if not 40 <= i < 80 else [face(100)] for i in range(0, 151, 5)}
    for i in found:
        found[i].append(face(104, height=76, score=0.4))  # the first face, found twice
    large, small = separate_faces(found, 151)
    np.testing.assert_allclose(centres(large.boxes)[:, 0], 100, atol=0.1)
    assert (large.ids == 0).all()
    is_there = small.ids >= 0
    np.testing.assert_allclose(centres(small.boxes)[is_there, 0], 300, atol=0.1)
    assert sorted(set(small.ids[is_there])) == [0, 1]  # away for 1.6 s: the same face, another stretch
    assert not is_there[36:80].any()
    assert large.hit_rate == small.hit_rate == 1


def test_after_a_shot_change_faces_are_new():
    found = {i: [face(100)] for i in [*range(0, 101, 5), 51, 52]}
    before, after = separate_faces(found, 101, cuts=[52])
    assert {len(before.boxes), len(after.boxes)} == {101}
    assert not ((before.ids >= 0) & (after.ids >= 0)).any()
    assert ((before.ids >= 0) | (after.ids >= 0)).all()
