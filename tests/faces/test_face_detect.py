import shutil

import numpy as np
import pytest

from anchor.errors import FaceError
from anchor.faces import FaceTracker, available_detectors, make_detector
from anchor.faces.face import reduce_frame
from anchor.media import read_video_25fps
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip


@pytest.fixture(scope="module")
def drawn():
    """A few pictures of drawn speakers with the true boxes."""
    pairs = []
    for number in range(4):
        clip = make_clip(draw_person(0, number), 0, seconds=1.0, size=160)
        truth = clip.truth()["boxes"]
        pairs += [(frame, np.array(truth[i])) for i, frame in enumerate(clip.frames()) if i in (0, 12)]
    return pairs


def test_haar_finds_drawn_faces_where_they_are(bare, drawn):
    detector = make_detector()
    assert detector.name == "haar"
    assert available_detectors() == ["haar"]
    for frame, truth in drawn:
        height = truth[3] - truth[1]
        best = detector.detect(frame)[0]
        assert np.abs(best.box - truth).max() < 0.25 * height


@pytest.mark.parametrize(
    ("name", "command"), [("yunet", "name=yunet`"), ("insightface", "name=buffalo_l accept_licence=true`")]
)
def test_an_absent_model_is_one_sentence(bare, name, command):
    with pytest.raises(FaceError, match=rf"detector={name} needs .*anchor models fetch {command}.*ANCHOR_MODELS=DIR"):
        make_detector(name)
    with pytest.raises(FaceError, match="no detector"):
        make_detector("magic")


@pytest.mark.parametrize("damage", ["truncated", "empty", "no model"])
def test_a_damaged_yunet_is_named_and_opencv_is_silent(bare, data_dir, damage, capfd):
    whole = (data_dir / "models" / "yunet_n_640_640.onnx").read_bytes()
    content = {"truncated": whole[:100_000], "empty": b"", "no model": b"no model"}[damage]
    (bare / "yunet_broken.onnx").write_bytes(content)
    with pytest.raises(FaceError, match=r"yunet_broken\.onnx is no YuNet model.*anchor models fetch name=yunet"):
        make_detector("yunet", bare)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("file", ["det_10g.onnx", "2d106det.onnx"])  # loads and has other outputs; does not load
def test_another_network_is_no_yunet(bare, models, file, capfd):
    shutil.copy(models / "buffalo_l" / file, bare / "yunet_by_mistake.onnx")
    with pytest.raises(FaceError, match=r"yunet_by_mistake\.onnx is no YuNet model"):
        make_detector("yunet", bare)
    assert capfd.readouterr() == ("", "")


def test_boxes_are_right_where_a_reduced_side_is_rounded():
    frame = np.zeros((603, 1283, 3), np.uint8)
    small, scale = reduce_frame(frame, 320)
    assert small.shape == (150, 320, 3)
    np.testing.assert_allclose(np.array([320, 150]) / scale, [1283, 603])


def test_yunet_is_found_by_its_folder(bare, data_dir, drawn, monkeypatch):
    shutil.copy(data_dir / "models" / "yunet_n_640_640.onnx", bare)
    monkeypatch.setenv("ANCHOR_MODELS", str(bare))
    detector = make_detector()
    assert detector.name == "yunet"
    for frame, truth in drawn:
        assert np.abs(detector.detect(frame)[0].box - truth).max() < 0.15 * (truth[3] - truth[1])


@pytest.mark.parametrize("clip", ["g01_360x288_mpeg1.mpg", "p02_man_700px_vfr22.mp4"])
def test_haar_and_yunet_make_like_crops_of_real_faces(bare, data_dir, clip):
    tracks = []
    for detector in (make_detector("haar"), make_detector("yunet", data_dir / "models")):
        tracker = FaceTracker(detector)
        reader = read_video_25fps(data_dir / "data" / "clips" / clip)
        for i, frame in reader:
            tracker.add(i, frame)
            if i >= 60:
                break
        tracks.append(tracker.result(61))
    haar, yunet = (track.boxes[10:] for track in tracks)
    assert np.isfinite(haar).all()
    assert np.isfinite(yunet).all()
    height = (yunet[:, 3] - yunet[:, 1]).mean()
    assert np.abs(haar - yunet).max() < 0.12 * height
    assert np.abs(np.diff(haar, 2, axis=0)).max() < 0.01 * height  # no jitter
