import numpy as np

from anchor.inference.fade import face_presence


def test_a_face_that_is_always_there_is_always_drawn():
    assert (face_presence(np.zeros(9, int), 4) == 1).all()


def test_the_mouth_comes_and_goes_beside_a_gap_only():
    ids = np.array([0] * 8 + [-1] * 3 + [1] * 8)
    presence = face_presence(ids, 3)
    assert presence[:5].tolist() == [1] * 5  # the beginning of the video is not faded
    assert presence[5:8].tolist() == [0.75, 0.5, 0.25]
    assert presence[8:11].tolist() == [0] * 3
    assert presence[11:15].tolist() == [0.25, 0.5, 0.75, 1]
    assert presence[-1] == 1


def test_a_change_of_shot_is_not_faded():
    assert (face_presence(np.array([0, 0, 0, 1, 1, 1]), 4) == 1).all()


def test_a_face_that_shows_up_shortly_never_comes_out_whole():
    presence = face_presence(np.array([-1, -1, 0, 0, 0, -1]), 4)
    assert np.allclose(presence, [0, 0, 0.2, 0.4, 0.2, 0])


def test_no_fade_is_a_switch_and_no_face_is_nothing():
    assert face_presence(np.array([-1, 0, 0, -1]), 0).tolist() == [0, 1, 1, 0]
    assert face_presence(np.array([-1, -1]), 4).tolist() == [0, 0]
