import shutil

import numpy as np
import pytest
from tiny_pack import FIVE, red_square

from anchor.errors import FaceError
from anchor.faces import available_detectors, make_detector
from anchor.faces.detect import canonical_box
from anchor.faces.insight import InsightFaceDetector, open_pack


@pytest.fixture(scope="module")
def detector(models):
    return make_detector("insightface", models)


def box_of(x, y, side):
    return canonical_box(x + side / 2, y + side, side)


@pytest.mark.parametrize(
    ("size", "square"),
    [
        ((480, 640), (100, 80, 120)),
        ((480, 640), (301, 207, 60)),
        ((1080, 1920), (900, 411, 303)),  # reduced before it is shown
        ((1283, 603), (77, 900, 180)),  # portrait, and a side that is rounded
        ((200, 160), (40, 60, 50)),  # enlarged to SCRFD's size
    ],
)
def test_a_box_lies_where_the_face_is(detector, size, square):
    faces = detector.detect(red_square(*size, square))
    assert len(faces) == 1  # two anchors and two strides saw it
    side = square[2]
    np.testing.assert_allclose(faces[0].box, box_of(*square), atol=max(0.5, 0.01 * side))
    middle = np.array(square[:2]) + side / 2
    np.testing.assert_allclose(faces[0].keypoints, middle + FIVE * side, atol=max(0.5, 0.01 * side))
    assert 0.5 <= faces[0].score <= 1


@pytest.mark.parametrize("square", [(0, 0, 90), (550, 390, 90), (0, 200, 90)])
def test_a_face_at_the_border_is_found_through_the_margin(detector, square):
    (face,) = detector.detect(red_square(480, 640, square))
    np.testing.assert_allclose(face.box, box_of(*square), atol=1)


def test_several_faces_come_the_surest_first(detector):
    squares = [(40, 40, 30), (560, 60, 42), (300, 400, 36)]
    faces = detector.detect(red_square(480, 640, *squares))
    scores = [face.score for face in faces]
    assert scores == sorted(scores, reverse=True)
    found = sorted((face.box for face in faces), key=lambda box: box[0])
    for box, square in zip(found, sorted(squares), strict=True):
        np.testing.assert_allclose(box, box_of(*square), atol=1)


def test_colours_arrive_in_order_and_nothing_is_nothing(detector):
    frame = red_square(480, 640, (100, 80, 120))
    assert detector.detect(frame)
    assert detector.detect(np.ascontiguousarray(frame[..., ::-1])) == []  # a blue square
    assert detector.detect(red_square(480, 640)) == []


def test_a_pack_is_what_auto_prefers(models, bare, data_dir, monkeypatch):
    shutil.copy(data_dir / "models" / "yunet_n_640_640.onnx", bare)
    shutil.copytree(models / "buffalo_l", bare / "buffalo_l")
    monkeypatch.setenv("ANCHOR_MODELS", str(bare))
    assert available_detectors() == ["insightface", "yunet", "haar"]
    assert make_detector().name == "insightface"
    (bare / "buffalo_l").rename(bare / ".buffalo_l-8ijh2")  # what a killed fetch leaves
    assert make_detector().name == "yunet"


@pytest.mark.parametrize("threads", ["1", "2,1"])
def test_threads_are_as_many_as_the_environment_says(models, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    app = open_pack(models / "buffalo_l", ["detection", "landmark_2d_106"])
    app.det_model.detect(red_square(64, 64), max_num=0)
    sessions = [app.models["landmark_2d_106"].session, *app.det_model.resolution_sessions.values()]
    assert len(sessions) >= 2  # SCRFD makes another session for the size it is shown
    assert {one.get_session_options().intra_op_num_threads for one in sessions} == {int(threads[0])}


@pytest.mark.parametrize("file", ["det_10g.onnx", "w600k_r50.onnx"])
@pytest.mark.parametrize("share", [0, 0.6])
def test_a_damaged_file_of_a_pack_is_named(models, tmp_path, file, share, capfd):
    pack = shutil.copytree(models / "buffalo_l", tmp_path / "buffalo_l")
    whole = (pack / file).read_bytes()
    (pack / file).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FaceError, match=rf"buffalo_l/{file} is .*anchor models fetch name=buffalo_l accept_licence"):
        make_detector("insightface", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_detector_of_another_kind_is_refused(models, tmp_path):
    pack = tmp_path / "buffalo_l"
    pack.mkdir()
    shutil.copy(models / "buffalo_l" / "2d106det.onnx", pack / "det_10g.onnx")
    with pytest.raises(FaceError, match="buffalo_l is no model that insightface can load"):
        make_detector("insightface", tmp_path)


def test_an_empty_folder_is_no_pack(bare):
    (bare / "buffalo_l").mkdir()
    with pytest.raises(FaceError, match="detector=insightface needs a model pack"):
        make_detector("insightface", bare)
    assert make_detector("auto", bare).name == "haar"
    with pytest.raises(FaceError, match=r"buffalo_l.*anchor models fetch"):
        InsightFaceDetector(bare / "buffalo_l")


def test_a_pack_that_is_not_there_is_never_downloaded(bare, monkeypatch):
    import insightface.utils.storage as storage
    from insightface.app import FaceAnalysis

    asked = []
    monkeypatch.setattr(storage, "download_file", lambda *args, **kwargs: asked.append(args))
    monkeypatch.chdir(bare)
    for name in ("buffalo_l", "buffalo_sc", "antelopev2", "raccoon_s"):
        with pytest.raises(FaceError, match=f"{name} is no folder with a model pack"):
            InsightFaceDetector(bare / name)
        with pytest.raises(FaceError, match=f"{name} is no folder with a model pack"):
            InsightFaceDetector(type(bare)(name))
    assert asked == []
    with pytest.raises(FileNotFoundError):  # the watch does see insightface's own road: no zip arrived
        FaceAnalysis(name="buffalo_l", root=str(bare))
    assert len(asked) == 1
