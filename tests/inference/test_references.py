import numpy as np

from anchor.inference import back_and_forth, choose_references, pose_vector
from anchor.ops.references import best_references, lay_references


def test_a_short_video_runs_back_and_forth_and_shows_its_turns_once():
    assert back_and_forth(9, 4).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_a_long_video_is_simply_shown():
    assert back_and_forth(3, 10).tolist() == [0, 1, 2]


def test_a_still_picture_stays():
    assert back_and_forth(5, 1).tolist() == [0] * 5


def test_the_order_never_jumps():
    for num_source in (2, 3, 17):
        assert np.abs(np.diff(back_and_forth(200, num_source))).max() == 1


def test_references_are_of_the_same_face_and_absent_where_there_is_none():
    ids = np.array([0, 0, 0, 0, -1, -1, 1, 1, 1])
    for kind in ("shifted", "fixed", "same"):
        references = choose_references(kind, ids)[:, 0]
        assert (references[ids < 0] == -1).all()
        assert (ids[references[ids >= 0]] == ids[ids >= 0]).all()
    assert choose_references("same", ids)[ids >= 0, 0].tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert set(choose_references("fixed", ids)[:4, 0]) == {2}


def test_shifted_references_are_half_a_clip_away_and_never_leap():
    references = choose_references("shifted", np.zeros(100, int))[:, 0]
    assert references[0] == 50
    assert references[:50].tolist() == list(range(50, 100))
    assert np.abs(np.diff(references)).max() == 1


def test_the_nearest_reference_has_the_pose_and_is_half_a_second_away():
    pose = np.sin(np.arange(100) / 10)  # the head turns to and fro, once in 2.5 s
    poses = np.stack([pose, np.sqrt(1 - pose**2)], 1).astype(np.float32) * np.sqrt(2)
    references = choose_references("nearest", np.zeros(100, int), poses)[:, 0]
    assert (np.abs(references - np.arange(100)) >= 13).all()
    nearest, fixed = (np.abs(pose[chosen] - pose).mean() for chosen in (references, np.full(100, 50)))
    assert nearest < 0.5 * fixed
    assert (np.diff(references) != 0).sum() < 20


def test_of_two_that_are_posed_alike_the_one_with_the_other_mouth_is_taken():
    poses, mouths = np.zeros((60, 4), np.float32), np.zeros((60, 4), np.float32)
    mouths[::2] = [1, -1, 1, -1]
    references = choose_references("nearest", np.zeros(60, int), poses, mouths)[:, 0]
    assert (np.abs(references - np.arange(60)) >= 13).all()
    cost = 2 - np.abs(mouths[references, 0] - mouths[:, 0])
    assert cost.mean() < 1.6  # one that stays put for long is right in half of the frames
    target = np.full((48, 48, 3), 90, np.uint8)
    target[34:38, 16:32] = 20
    other = np.full_like(target, 90)
    other[34:44, 16:32] = 20
    turned = other.copy()
    turned[6:24, 8:20] = 200
    assert best_references(target, np.stack([turned, target, other]), 2).tolist() == [2, 1]
    assert best_references(target, np.stack([other]), 2).tolist() == [0, 0]


def test_a_short_or_still_face_has_a_reference_too():
    poses = np.random.default_rng(0).normal(size=(7, 10)).astype(np.float32)
    assert set(choose_references("nearest", np.zeros(7, int), poses)[:, 0]) <= {0, 5}
    assert choose_references("nearest", np.array([0]), poses[:1]).tolist() == [[0]]


def test_several_references_are_several_pictures_the_best_first_whatever_the_rule():
    pose = np.sin(np.arange(100) / 10)
    poses = np.stack([pose, np.sqrt(1 - pose**2)], 1).astype(np.float32) * np.sqrt(2)
    for kind in ("nearest", "fixed", "shifted"):
        one, three = (choose_references(kind, np.zeros(100, int), poses, count=count) for count in (1, 3))
        assert three.shape == (100, 3)
        assert all(len(set(row)) == 3 for row in three[:48].tolist())
        if kind == "nearest":
            assert (three[:, 0] == one[:, 0]).all()
    assert choose_references("fixed", np.zeros(100, int), count=2)[0].tolist() == [25, 75]


def test_references_are_laid_behind_each_other():
    crops = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    laid = lay_references(crops, np.array([[4, 1, 0], [2, 2, 3]]))
    assert laid.shape == (2, 4, 4, 9)
    assert laid[:, 0, 0, ::3].tolist() == [[4, 1, 0], [2, 2, 3]]


def test_two_faces_never_share_a_reference():
    poses = np.zeros((60, 10), np.float32)
    ids = np.repeat([0, 1], 30)
    references = choose_references("nearest", ids, poses)[:, 0]
    assert (ids[references] == ids).all()


def test_the_pose_is_the_upper_halfs_and_not_the_lights():
    crop = np.random.default_rng(1).integers(40, 200, (96, 96, 3), np.uint8)
    spoken = crop.copy()
    spoken[58:] = 0
    assert np.abs(pose_vector(spoken) - pose_vector(crop)).max() < 1e-5
    assert np.abs(pose_vector((crop * 0.5).astype(np.uint8)) - pose_vector(crop)).mean() < 0.05
    assert np.abs(pose_vector(crop[:, ::-1].copy()) - pose_vector(crop)).mean() > 0.5
