import shutil

import numpy as np
import pytest

from anchor.errors import FaceError
from anchor.faces import FaceTracker, available_detectors, make_detector
from anchor.media import read_video_25fps
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without face models."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANCHOR_MODELS", raising=False)
    return tmp_path


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


@pytest.mark.parametrize("name", ["yunet", "insightface"])
def test_an_absent_model_is_one_sentence(bare, name):
    with pytest.raises(FaceError, match=rf"detector={name} needs .*ANCHOR_MODELS=DIR"):
        make_detector(name)
    with pytest.raises(FaceError, match="no detector"):
        make_detector("magic")


def test_a_damaged_model_is_named(bare):
    (bare / "yunet_broken.onnx").write_bytes(b"no model")
    with pytest.raises(FaceError, match=r"yunet_broken\.onnx is no YuNet model"):
        make_detector("yunet", bare)
    (bare / "pack").mkdir()
    (bare / "pack" / "det_10g.onnx").write_bytes(b"no model")
    with pytest.raises(FaceError, match="no insightface pack that loads"):
        make_detector("insightface", bare)


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
