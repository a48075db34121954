import numpy as np

from anchor.inference import back_and_forth, choose_references


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
        references = choose_references(kind, ids)
        assert (references[ids < 0] == -1).all()
        assert (ids[references[ids >= 0]] == ids[ids >= 0]).all()
    assert choose_references("same", ids)[ids >= 0].tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert set(choose_references("fixed", ids)[:4]) == {2}


def test_shifted_references_are_half_a_clip_away_and_never_leap():
    references = choose_references("shifted", np.zeros(100, int))
    assert references[0] == 50
    assert references[:50].tolist() == list(range(50, 100))
    assert np.abs(np.diff(references)).max() == 1
