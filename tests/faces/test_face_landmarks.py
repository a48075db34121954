import shutil

import cv2
import numpy as np
import pytest
from tiny_pack import OPENING, POINTS_68, POINTS_106, red_square

from anchor.errors import FaceError
from anchor.faces import (
    Landmarks,
    available_landmarks,
    crop_face,
    make_detector,
    make_landmarks,
    mesh_is_installed,
    mouth_opening,
    mouth_points,
)
from anchor.faces.detect import Face, canonical_box
from anchor.faces.motion import pixel_mouth_jitter, pixel_mouth_motion
from anchor.media import read_video_25fps


def test_without_models_there_are_no_landmarks(bare):
    backend = make_landmarks()
    assert backend.name == "none"
    assert available_landmarks() == ["none"]
    face = Face(canonical_box(50, 80, 60), 0.9)
    assert backend.landmarks(red_square(100, 100, (20, 20, 60)), face) is None
    assert mouth_points(None) is None
    assert mouth_opening(None) is None


@pytest.mark.parametrize(
    ("name", "command"),
    [("mediapipe", "name=face_landmarker`"), ("insightface", "name=buffalo_l accept_licence=true`")],
)
def test_absent_landmark_models_are_one_sentence(bare, name, command):
    with pytest.raises(FaceError, match=rf"landmarks={name} needs .*anchor models fetch {command}.*ANCHOR_MODELS=DIR"):
        make_landmarks(name)
    with pytest.raises(FaceError, match="no backend"):
        make_landmarks("magic")


@pytest.mark.parametrize("square", [(100, 80, 120), (300, 201, 61)])
@pytest.mark.parametrize(("scheme", "offsets"), [("insightface106", POINTS_106), ("ibug68", POINTS_68)])
def test_a_pack_marks_the_face(bare, models, square, scheme, offsets):
    shutil.copytree(models / "buffalo_l", bare / "buffalo_l")
    if scheme == "ibug68":
        (bare / "buffalo_l" / "2d106det.onnx").unlink()
    backend = make_landmarks("auto", bare)
    assert backend.name == "insightface"
    frame = red_square(480, 640, square)
    (face,) = make_detector("insightface", bare).detect(frame)
    found = backend.landmarks(frame, face)
    assert found.scheme == scheme
    assert found.points.dtype == np.float32
    middle = np.array(square[:2]) + square[2] / 2
    np.testing.assert_allclose(found.points, middle + offsets * square[2], atol=0.3)
    assert mouth_opening(found) == pytest.approx(OPENING, abs=0.01)


def test_a_face_at_the_border_is_marked_too(bare, models):
    frame = red_square(480, 640, (0, 100, 90))
    (face,) = make_detector("insightface", models).detect(frame)
    points = make_landmarks("insightface", models).landmarks(frame, face).points
    np.testing.assert_allclose(points, [45, 145] + POINTS_106 * 90, atol=0.5)


def test_a_pack_without_landmarks_is_named(bare, models):
    pack = shutil.copytree(models / "buffalo_l", bare / "buffalo_sc")
    for file in ("2d106det.onnx", "1k3d68.onnx"):
        (pack / file).unlink()
    assert make_landmarks("auto", bare).name == "none"
    with pytest.raises(FaceError, match=r"landmarks=insightface needs a model pack with 2d106det\.onnx"):
        make_landmarks("insightface", bare)


@pytest.mark.parametrize(("scheme", "offsets"), [("insightface106", POINTS_106), ("ibug68", POINTS_68)])
def test_an_opening_is_the_same_at_any_size_and_tilt(scheme, offsets):
    for size, degrees in ((40, 0), (300, 25), (300, -40)):
        turn = np.radians(degrees)
        matrix = size * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        landmarks = Landmarks((offsets @ matrix + 500).astype(np.float32), scheme)
        assert mouth_opening(landmarks) == pytest.approx(OPENING, abs=1e-3)


def test_lips_that_cross_are_below_0_and_unknown_points_are_none():
    closed = POINTS_68.copy()
    closed[[61, 62, 63]], closed[[67, 66, 65]] = closed[[67, 66, 65]], closed[[61, 62, 63]].copy()
    assert mouth_opening(Landmarks(100 * closed.astype(np.float32), "ibug68")) == pytest.approx(-OPENING, abs=1e-3)
    assert mouth_opening(Landmarks(np.zeros((68, 2), np.float32), "ibug68")) is None  # no eye distance
    assert mouth_opening(Landmarks(np.zeros((5, 2), np.float32), "five")) is None
    assert mouth_points(Landmarks(np.zeros((5, 2), np.float32), "five")) is None


def test_auto_never_is_mediapipe_and_its_absence_is_said(bare, data_dir, monkeypatch):
    shutil.copy(data_dir / "models" / "face_landmarker_v2_with_blendshapes.task", bare)
    assert make_landmarks("auto", bare).name == "none"
    monkeypatch.setattr("anchor.faces.mesh.mesh_is_installed", lambda: False)
    with pytest.raises(FaceError, match=r"needs the package mediapipe.*virtual-anchor\[landmarks\]"):
        make_landmarks("mediapipe", bare)


needs_mediapipe = pytest.mark.skipif(not mesh_is_installed(), reason="the optional package mediapipe is not installed")


@needs_mediapipe
def test_mediapipe_follows_a_real_mouth(data_dir):
    detector = make_detector("yunet", data_dir / "models")
    backend = make_landmarks("mediapipe", data_dir / "models")
    openings = []
    for i, frame in read_video_25fps(data_dir / "data" / "clips" / "p04_woman_512px_25fps.mp4"):
        if i >= 100:
            break
        face = detector.detect(frame)[0]
        found = backend.landmarks(frame, face)
        assert found.points.shape == (478, 2)
        mouth = mouth_points(found)
        outer = mouth.outer.reshape(-1, 1, 2)
        assert all(cv2.pointPolygonTest(outer, tuple(map(float, point)), True) > -2 for point in mouth.inner)
        x0, y0, x1, y1 = face.box
        assert np.all((mouth.outer > (x0, (y0 + y1) / 2)) & (mouth.outer < (x1, y1)))
        openings.append(mouth_opening(found))
    assert min(openings) < 0.03  # her lips close
    assert max(openings) > 0.3  # and she laughs
    assert backend.landmarks(np.zeros_like(frame), face) is None


@needs_mediapipe
@pytest.mark.parametrize("size", [0, 1_000_000])
def test_a_damaged_mesh_is_named(bare, data_dir, size):
    whole = (data_dir / "models" / "face_landmarker_v2_with_blendshapes.task").read_bytes()
    (bare / "face_landmarker.task").write_bytes(whole[:size])
    with pytest.raises(FaceError, match=r"face_landmarker\.task is no face landmarker.*anchor models fetch"):
        make_landmarks("mediapipe", bare)


def test_pixel_motion_is_that_of_the_mouth_alone():
    still = np.full((4, 96, 96, 3), 128, np.uint8)
    np.testing.assert_array_equal(pixel_mouth_motion(still), np.zeros(3))
    assert pixel_mouth_jitter(still) == 0
    moving = still.copy()
    moving[::2, 58:84, 30:66] = 0  # a mouth that opens in every other frame
    assert pixel_mouth_motion(moving).min() > 0.2
    assert pixel_mouth_jitter(moving) > 4 * 0.2
    blinking = still.copy()
    blinking[::2, 30:44] = 0
    blinking[::2, 58:84, :20] = 0
    assert pixel_mouth_motion(blinking).max() == 0


def test_a_steady_change_moves_and_does_not_tremble():
    fading = np.stack([np.full((96, 96, 3), 40 + 10 * i, np.uint8) for i in range(8)])
    np.testing.assert_allclose(pixel_mouth_motion(fading), 10 / 255, atol=1e-6)
    assert pixel_mouth_jitter(fading) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 96, 80, 3), (96, 96, 3), (1, 96, 96, 3)])
def test_pixel_motion_refuses_what_is_no_series_of_crops(shape):
    with pytest.raises(FaceError, match="crops"):
        pixel_mouth_motion(np.zeros(shape, np.uint8))


def test_pixel_motion_takes_crops_as_they_are_cut(bare):
    frames = [red_square(200, 200, (60 + i, 60, 80)) for i in range(3)]
    crops = np.stack([crop_face(frame, canonical_box(100, 140, 100), 64) for frame in frames])
    assert pixel_mouth_motion(crops).shape == (2,)
