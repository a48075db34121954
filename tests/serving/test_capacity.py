"""How many may speak: arithmetic on what was measured."""

import pytest
from live_server import DrawnPictures

from anchor.serving.capacity import SHARE, Cost, Room, measure_pictures

MOUTHS = {1: 0.004, 2: 0.006, 4: 0.010, 8: 0.016, 16: 0.030}


def test_mouths_are_counted_in_the_batches_they_are_drawn_in():
    cost = Cost(MOUTHS)
    assert cost.drawing_s(0) == 0
    assert cost.drawing_s(3) == pytest.approx(0.010), "three go as four"
    assert cost.drawing_s(5) == pytest.approx(0.014), "five as four and one"
    assert cost.drawing_s(20) == pytest.approx(0.040)


def test_the_drawing_process_or_the_cores_are_the_limit():
    card = Room(shares_cores=False, cores=16, python_s=0.0)
    limit = card.limit(Cost(MOUTHS, 0.001))
    assert Cost(MOUTHS).drawing_s(limit) * 25 <= SHARE < Cost(MOUTHS).drawing_s(limit + 1) * 25
    assert card.limit(Cost(MOUTHS, 0.040)) == int(SHARE * 16), "a core for each picture"
    both = Room(threads=1, shares_cores=True, cores=2)
    assert both.limit(Cost(MOUTHS, 0.010)) == 4, "0.25 of a core each for pictures, and 0.010 s of drawing for four"
    assert both.limit(Cost(dict.fromkeys(MOUTHS, 1.0), 1.0)) == 1, "one may always try"
    assert card.limit(Cost(MOUTHS), most=3) == 3


def test_different_avatars_share_the_room():
    room = Room(shares_cores=False, python_s=0.0)
    costs = {"quick": Cost(MOUTHS), "slow": Cost({size: 5 * one for size, one in MOUTHS.items()})}
    assert room.holds({"quick": 8}, costs)
    assert room.holds({"slow": 1}, costs)
    assert not room.holds({"quick": 8, "slow": 1}, costs)


def test_one_python_process_is_a_limit_of_its_own():
    quick = Cost(dict.fromkeys(MOUTHS, 0.0001), 0.0001)
    assert Room(shares_cores=False, cores=64, python_s=0.0).limit(quick, most=100) == 100
    assert Room(shares_cores=False, cores=64, python_s=0.0039).limit(quick, most=100) == 7
    assert Room(shares_cores=False, cores=64).limit(quick) == 8


def test_who_is_watched_and_silent_takes_room_too():
    room, costs = Room(shares_cores=False, cores=2, python_s=0.0), {"ann": Cost(MOUTHS, 0.010, 0.0078)}
    assert room.holds({"ann": 5}, costs), "a quarter of a core each, of 1.4"
    assert room.holds({"ann": 4}, costs, {"ann": 2})
    assert not room.holds({"ann": 4}, costs, {"ann": 3})
    assert room.holds({}, costs, {"ann": 7}), "a fifth of a core each"
    assert not room.holds({}, costs, {"ann": 8})


def test_a_picture_costs_something():
    drawn_s, idle_s = measure_pictures(DrawnPictures())
    assert 0 < drawn_s < 10
    assert 0 < idle_s < 10
