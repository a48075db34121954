"""YuNet and SCRFD as torch modules in batches: the faces of the one-picture detectors, and the tracks."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_pack import red_square

from anchor.device import has_mlu
from anchor.errors import DeviceError, FaceError
from anchor.faces import BatchFaceDetector, FaceTracker, TrackSettings, make_detector
from anchor.faces.batch import BatchedScrfd, BatchedYuNet
from anchor.faces.best import choose_best, keep_greedily
from anchor.media import FrameReader

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def yunets(data_dir):
    """The one-picture detector and the batched one."""
    models = data_dir / "models"
    return make_detector("yunet", models), BatchedYuNet(models / "yunet_n_640_640.onnx", CPU, 4)


@pytest.fixture(scope="module")
def scrfds(models):
    return make_detector("insightface", models), BatchedScrfd(models / "buffalo_l" / "det_10g.onnx", CPU, 3)


def frames_of(data_dir, clip, every, count):
    reader = FrameReader(data_dir / "data" / "clips" / clip)
    return [frame for _, frame in itertools.islice(reader, 0, every * count, every)]


def assert_same_faces(found, expected, atol):
    assert [len(faces) for faces in found] == [len(faces) for faces in expected]
    for ours, theirs in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        np.testing.assert_allclose(ours.box, theirs.box, atol=atol)
        np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=atol)
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)


@pytest.mark.parametrize(
    ("clip", "least"),
    [
        ("x02_four_faces_720p.mp4", 24),
        ("x01_multishot_2997fps.mp4", 4),  # with pictures that show no face
        ("p05_woman_portrait1080_25fps_hevc.mp4", 6),
        ("p08_man_256px_25fps_60s.mp4", 6),  # not reduced before it is looked at
        ("g01_360x288_mpeg1.mpg", 6),
    ],
)
def test_yunet_in_batches_finds_what_opencv_finds(data_dir, yunets, clip, least):
    single, batched = yunets
    pictures = frames_of(data_dir, clip, every=9, count=6)
    expected = [single.detect(picture) for picture in pictures]
    assert sum(map(len, expected)) >= least
    assert_same_faces(batched.detect_batch(pictures), expected, atol=0.01)


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (1283, 603), (200, 160)])
def test_scrfd_in_batches_finds_what_insightface_finds(scrfds, size):
    single, batched = scrfds
    side = min(size) // 4
    places = [[(10, 20, side)], [], [(size[1] // 2, size[0] // 2, side), (5, 5, side * 3 // 4)], [(0, 0, side)]]
    pictures = [red_square(*size, *squares) for squares in places]
    expected = [single.detect(picture) for picture in pictures]
    assert [min(2, len(faces)) for faces in expected] == [1, 0, 2, 1]
    assert_same_faces(batched.detect_batch(pictures), expected, atol=0.01)


def test_pictures_of_several_sizes_and_none_at_all(scrfds):
    single, batched = scrfds
    pictures = [red_square(*size, (30, 40, 60)) for size in [(240, 320), (240, 320), (320, 240), (240, 320)]]
    assert_same_faces(batched.detect_batch(pictures), [single.detect(picture) for picture in pictures], atol=0.01)
    assert_same_faces([batched.detect(pictures[2])], [single.detect(pictures[2])], atol=0.01)
    assert batched.detect_batch([]) == []


class OneByOne:
    """The same detector without its batches."""

    def __init__(self, detector):
        self.name, self.detect = detector.name, detector.detect


@pytest.mark.parametrize("clip", ["x01_multishot_2997fps.mp4", "x02_four_faces_720p.mp4"])
def test_a_tracker_finds_the_same_tracks_in_batches(data_dir, yunets, clip):
    single, batched = yunets
    trackers = [FaceTracker(one, TrackSettings(stride=7)) for one in (single, OneByOne(batched), batched)]
    assert isinstance(batched, BatchFaceDetector)
    assert not isinstance(OneByOne(batched), BatchFaceDetector)
    last = 0
    for last, frame in itertools.islice(FrameReader(data_dir / "data" / "clips" / clip), 120):
        for tracker in trackers:
            tracker.add(last, frame)
    opencv, one_by_one, in_batches = (tracker.result(last + 1) for tracker in trackers)
    assert (opencv.ids >= 0).any()
    for track in (one_by_one, in_batches):
        np.testing.assert_array_equal(track.ids, opencv.ids)
        np.testing.assert_allclose(track.boxes, opencv.boxes, atol=0.01)
        assert track.hit_rate == opencv.hit_rate
    for track, other in zip(trackers[2].faces(last + 1), trackers[0].faces(last + 1), strict=True):
        np.testing.assert_array_equal(track.ids, other.ids)


class Patient:
    """A detector that remembers its batches: a stand-in."""

    name, batch_size = "patient", 3

    def __init__(self):
        self.batches = []

    def shrink(self, frame):
        return int(frame[0, 0, 0])

    def detect_small(self, smalls):
        self.batches.append(smalls)
        return [[] for _ in smalls]

    def detect(self, frame):
        raise AssertionError("one by one")

    detect_batch = detect


def test_a_tracker_asks_when_a_batch_is_full_and_at_the_end():
    detector = Patient()
    tracker = FaceTracker(detector, TrackSettings(stride=5))
    for i in range(26):
        tracker.add(i, np.full((64, 64, 3), i, np.uint8))
    assert detector.batches == [[0, 5, 10], [15, 20, 25]]
    tracker.add(26, np.full((64, 64, 3), 26, np.uint8))
    tracker.result(27)
    tracker.faces(27)
    assert detector.batches == [[0, 5, 10], [15, 20, 25], [26]]


def test_what_waits_is_small(yunets):
    frame = np.zeros((1080, 1920, 3), np.uint8)
    small = yunets[1].shrink(frame)
    assert small.picture.shape == (180, 320, 3)
    assert small.picture.base is None  # it does not hold the frame


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_that_of_going_through_them_one_by_one(seed):
    rng = np.random.default_rng(seed)
    is_over = rng.random((3, 40, 40)) < 0.15
    is_valid = rng.random((3, 40)) < 0.8
    expected = np.zeros_like(is_valid)
    for n, i in itertools.product(range(3), range(40)):
        expected[n, i] = is_valid[n, i] and not (is_over[n, :i, i] & expected[n, :i]).any()
    kept = keep_greedily(torch.from_numpy(is_over), torch.from_numpy(is_valid))
    np.testing.assert_array_equal(kept.numpy(), expected)


def test_the_best_rows_come_in_order_and_only_so_many():
    boxes = torch.tensor([[0, 0, 10, 10], [50, 0, 60, 10], [1, 0, 11, 10], [90, 0, 99, 9], [5, 5, 5, 5]]).float()
    scores = torch.tensor([0.7, 0.8, 0.9, 0.4, 0.95])
    rows = torch.cat([boxes, scores[:, None]], 1)[None]
    kept = choose_best(rows, boxes[None], scores[None], 0.5, 0.3, 5)
    np.testing.assert_allclose(kept[0][:, -1], [0.95, 0.9, 0.8])
    assert len(choose_best(rows, boxes[None], scores[None], 0.5, 0.3, 2)[0]) == 2


def test_where_it_runs_is_chosen_by_name(data_dir, models, monkeypatch):
    folder = data_dir / "models"
    for device in (None, "cpu"):
        assert not isinstance(make_detector("yunet", folder, device=device), BatchFaceDetector)
    assert isinstance(make_detector("yunet", folder, device="cpu", runtime="torch"), BatchedYuNet)
    assert isinstance(make_detector("insightface", models, runtime="torch"), BatchedScrfd)
    monkeypatch.setattr("anchor.device.resolve_device", lambda name: CPU)
    assert not isinstance(make_detector("yunet", folder, device="auto"), BatchFaceDetector)


def test_haar_has_no_form_for_a_card(bare, monkeypatch):
    for name in ("haar", "auto"):
        with pytest.raises(FaceError, match=f"detector={name} has nothing that runs there.*faces.device=cpu"):
            make_detector(name, runtime="torch")
    monkeypatch.setattr("anchor.device.resolve_device", lambda name: torch.device("cuda"))
    assert make_detector("auto", device="auto").name == "haar"  # nobody asked for the card


@pytest.mark.parametrize("device", ["mlu", "cuda", "cuda:1", "tpu"])
def test_an_absent_device_is_one_sentence(data_dir, device):
    if (device.startswith("cuda") and torch.cuda.is_available()) or (device == "mlu" and has_mlu()):
        pytest.skip(f"this machine has {device}")
    with pytest.raises(DeviceError, match=f"device={device}"):
        make_detector("yunet", data_dir / "models", device=device)


def test_another_network_is_no_yunet_on_a_card_either(models):
    with pytest.raises(FaceError, match=r"det_10g\.onnx is no YuNet model: its outputs are score_8"):
        BatchedYuNet(models / "buffalo_l" / "det_10g.onnx", CPU, 2)


def test_one_picture_at_a_time_needs_no_torch():
    code = "import sys, anchor.faces as f; f.make_detector('haar', device='cpu'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def check_on(device, data_dir, models):
    """On a card the faces are those of the CPU: full and broken batches, both networks."""
    pictures = frames_of(data_dir, "x02_four_faces_720p.mp4", every=9, count=19)
    single, batched = (make_detector("yunet", data_dir / "models", device=where) for where in ("cpu", device))
    assert isinstance(batched, BatchFaceDetector)
    expected = [single.detect(picture) for picture in pictures]
    assert_same_faces(batched.detect_batch(pictures), expected, atol=0.5)
    squares = [red_square(480, 640, (20 * i, 80, 120)) for i in range(5)]
    single, batched = (make_detector("insightface", models, device=where) for where in ("cpu", device))
    assert_same_faces(batched.detect_batch(squares), [single.detect(one) for one in squares], atol=0.5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_on_a_cuda_card_the_faces_are_the_same(data_dir, models):
    check_on("cuda", data_dir, models)


@pytest.mark.mlu
@pytest.mark.skipif(not has_mlu(), reason="no Cambricon card")
def test_on_a_cambricon_card_the_faces_are_the_same(data_dir, models):
    check_on("mlu", data_dir, models)
