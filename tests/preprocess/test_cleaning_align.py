import numpy as np
import pytest

from anchor.errors import ConfigError, FaceError
from anchor.faces import FaceTrack
from anchor.faces.face import ASPECT
from anchor.preprocess import preprocess
from anchor.preprocess.cleaning.align import CENTRE, PLACES, align_track, crop_aligned, paste_aligned
from anchor.preprocess.cleaning.points import FacePoints, estimate_pose
from anchor.preprocess.settings import ClipSettings
from anchor.shards import ShardSet

NOSE = complex(CENTRE.real, 0.582)


def points_at(middle, height, degrees):
    """The five points of a level face that is turned in the picture: float32 (5, 2)."""
    places = np.array([PLACES[0], PLACES[1], NOSE, PLACES[2], PLACES[3]]) - CENTRE
    found = middle + height * np.exp(1j * np.radians(degrees)) * places
    return np.stack([found.real, found.imag], 1).astype(np.float32)


def tracked(points_T52, every=5):
    """An upright track around the points, and the points at every few frames."""
    total = len(points_T52)
    centre = points_T52.mean(1)
    boxes = np.concatenate([centre - 50, centre + 50], 1).astype(np.float32)
    frames = np.arange(0, total, every)
    return FaceTrack(boxes, np.zeros(total, np.int32), 1.0), FacePoints(frames, points_T52[frames])


def in_crop(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_eyes_and_mouth_come_to_lie_at_their_places_whatever_the_turn_and_size():
    wanted = np.stack([PLACES.real / ASPECT, PLACES.imag], 1) * 96
    for middle, height, degrees in ((100 + 80j, 80, 0), (320 + 200j, 240, 25), (60 + 60j, 40, -40)):
        points_T52 = np.stack([points_at(middle, height, degrees)] * 41)
        track, matrices = align_track(*tracked(points_T52), size=96)
        assert (track.ids == 0).all()
        for frame in (0, 13, 40):
            np.testing.assert_allclose(in_crop(matrices[frame], points_T52[frame])[[0, 1, 3, 4]], wanted, atol=0.05)
        np.testing.assert_allclose(track.boxes[7, 3] - track.boxes[7, 1], height, rtol=1e-3)


def test_a_leaning_head_is_followed_and_jitter_does_not_tremble():
    rng = np.random.default_rng(0)
    lean = 20 * np.sin(np.arange(201) / 200 * 2 * np.pi)
    true = np.stack([points_at(200 + 150j, 160, degrees) for degrees in lean])
    seen = true + rng.normal(0, 2.0, true.shape).astype(np.float32)
    track, points = tracked(seen)
    _, matrices = align_track(track, points, size=96)
    eyes = np.stack([in_crop(matrix, one)[:2] for matrix, one in zip(matrices, true, strict=True)])
    tilt = np.degrees(np.arctan2(*(eyes[:, 1] - eyes[:, 0]).T[::-1]))
    assert np.abs(tilt).max() < 3  # of twenty degrees
    assert np.abs(np.diff(eyes, 2, axis=0)).max() < 0.1  # px of the crop, from frame to frame


def test_a_stretch_without_points_is_taken_out():
    points_T52 = np.stack([points_at(100 + 100j, 80, 0)] * 40)
    track, points = tracked(points_T52)
    ids = np.repeat([0, 1], 20).astype(np.int32)
    only_first = FacePoints(points.frames_D[:4], points.points_D52[:4])
    aligned, matrices = align_track(FaceTrack(track.boxes, ids, 1.0), only_first, size=64)
    assert (aligned.ids == np.repeat([0, -1], 20)).all()
    assert np.isfinite(matrices[:20]).all()
    assert np.isnan(matrices[20:]).all()


@pytest.mark.parametrize(("height", "size"), [(90, 96), (60, 192), (200, 64)])
def test_a_crop_is_pasted_back_where_it_was(height, size):
    rows, columns = np.mgrid[0:300, 0:400].astype(float)
    waves = [np.sin(rows / 17 + columns / 23), np.cos(columns / 19), np.sin(rows / 29)]
    frame = np.rint(128 + 100 * np.stack(waves, 2)).astype(np.uint8)
    points_T52 = np.stack([points_at(200 + 150j, height, 18)] * 11)
    _, matrices = align_track(*tracked(points_T52), size=size)
    crop = crop_aligned(frame, matrices[5], size)
    back = paste_aligned(frame, matrices[5], crop)
    assert np.abs(back.astype(int) - frame).max() <= 14
    assert np.abs(back.astype(int) - frame).mean() < 0.5
    black = paste_aligned(frame, matrices[5], np.zeros_like(crop))
    changed = (black != frame).any(2)
    assert changed.sum() == pytest.approx(ASPECT * height**2, rel=0.05)
    assert changed[150, 200]
    assert not changed[:, :40].any()
    assert (paste_aligned(frame, matrices[5], crop * 0, np.zeros((size, size))) == frame).all()
    with pytest.raises(FaceError, match="no transform"):
        crop_aligned(frame, np.full((2, 3), np.nan), size)


def test_the_pose_is_told_from_five_points():
    level = points_at(100 + 100j, 80, 0)
    assert np.abs(estimate_pose(level)).max() < 1.5
    assert estimate_pose(points_at(100 + 100j, 80, 12)).roll == pytest.approx(12, abs=0.1)
    to_the_right, down = level.copy(), level.copy()
    to_the_right[2, 0] += 6
    down[2, 1] += 5
    assert 20 < estimate_pose(to_the_right).yaw < 35
    assert 10 < estimate_pose(down).pitch < 35
    leaning = estimate_pose(points_at(100 + 100j, 80, 30))
    assert abs(leaning.yaw) < 1.5


def test_haar_cannot_align_and_says_what_can(tmp_path, no_models):
    with pytest.raises(ConfigError, match=r"detector=haar finds boxes alone. Take detector=yunet"):
        ClipSettings(96, "haar", 5, 250, 15, align="affine")
    (tmp_path / "clip.mp4").write_text("never read")
    with pytest.raises(ConfigError, match="align=affine needs eyes and mouth"):  # detector=auto finds Haar only
        preprocess(source=tmp_path / "clip.mp4", out=tmp_path / "out", align="affine")


def test_real_faces_are_laid_upright(tmp_path, data_dir, monkeypatch):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    clip = data_dir / "data" / "clips" / "p09_woman_512px_25fps.mp4"
    tilts = {}
    for align in ("off", "affine"):
        preprocess(source=clip, out=tmp_path / align, detector="yunet", image_size=96, align=align, workers=1)
        shards = ShardSet(tmp_path / align)
        metas = [shards.read_meta(one) for one in shards.clips]
        assert all(("transforms" in meta) == (align == "affine") for meta in metas)
        tilts[align] = tilt_of(shards)
    assert sum(len(meta["transforms"]) for meta in metas) == 125
    assert np.abs(tilts["off"]).max() > 8
    assert np.abs(tilts["affine"]).max() < 6  # eyes and mouth of a real face are not quite parallel


def tilt_of(shards):
    """The tilt of the eyes in some crops, in degrees, as the detector sees it."""
    import cv2

    from anchor.faces import make_detector

    detector, tilts = make_detector("yunet"), []
    for clip in shards.clips:
        for crop in shards.read_frames(clip, range(0, clip.num_frames, 10)):
            face = cv2.resize(crop, (round(ASPECT * 192), 192))
            found = detector.detect(cv2.copyMakeBorder(face, 60, 60, 60, 60, cv2.BORDER_REPLICATE))
            left, right = found[0].keypoints[:2]
            tilts.append(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    return np.array(tilts)
