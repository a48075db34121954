"""Lateness that is counted, told and answered with a refusal; all of it given by hand, none of it timed."""

import time
from types import SimpleNamespace

import pytest

from anchor.serving.admission import Admission, BusyError, Settings
from anchor.serving.capacity import Cost
from anchor.serving.pulse import WINDOW_S, Pulse, TickFacts
from anchor.serving.session import SessionStats

FINE = TickFacts(0.001, 0.006, wants_mouth=True)
SKIPPED = TickFacts(0.001, is_skipped=True, wants_mouth=True)
MOUTHLESS = TickFacts(0.001, 0.006, wants_mouth=True, is_mouth_late=True)
LOOP_LATE = TickFacts(0.06, 0.006, wants_mouth=True)


def beaten(facts, count, fine=200, now=1000.5):
    pulse = Pulse()
    for one in [FINE] * fine + [facts] * count:
        pulse.add(one, now)
    return pulse


@pytest.mark.parametrize(
    ("facts", "few", "many", "says"),
    [
        (SKIPPED, 2, 5, "of the pictures are left out"),
        (MOUTHLESS, 2, 5, "of the mouths are drawn too late"),
        (LOOP_LATE, 10, 11, "begin more than 40 ms late"),
    ],
)
def test_what_comes_too_late_is_said_from_a_limit_on(facts, few, many, says):
    assert beaten(facts, few).strain(1001) == ""
    assert says in beaten(facts, many).strain(1001)


def test_what_is_long_ago_and_what_is_hardly_anything_is_no_strain():
    pulse = beaten(SKIPPED, 50)
    assert pulse.strain(1000 + WINDOW_S)
    assert not pulse.strain(1001 + WINDOW_S)
    assert not beaten(SKIPPED, 20, fine=20).strain(1001), "less than two seconds of one session"
    for second in range(1001, 1001 + WINDOW_S):
        pulse.add(FINE, second)
    assert len(pulse._seconds) == WINDOW_S, "no more is kept"


def test_the_loop_and_painting_are_told_apart():
    pulse = beaten(LOOP_LATE, 3, fine=4)
    lines = pulse.loop_late.lines("loop_late_seconds", "")
    assert 'anchor_loop_late_seconds_bucket{le="0.04"} 4' in lines
    assert 'anchor_loop_late_seconds_bucket{le="0.08"} 7' in lines
    assert "anchor_painting_seconds_count 7" in pulse.painting.lines("painting_seconds", "")
    total = SessionStats(skipped=3, skipped_by_loop=1, worst_loop_ms=80.0)
    total += SessionStats(skipped=2, skipped_by_loop=2, worst_loop_ms=50.0)
    assert (total.skipped, total.skipped_by_loop, total.worst_loop_ms) == (5, 3, 80.0), "the worst is no sum"


CHEAP = Cost(dict.fromkeys((1, 2, 4, 8, 16), 1e-6))


def door(pulse, speaking, told, cost=CHEAP, watched=0, **settings):
    """Of a station with three sessions of one avatar; the last of them is silent."""
    live = [
        SimpleNamespace(
            is_speaking=number < speaking,
            session=SimpleNamespace(avatar="ann", hub=SimpleNamespace(kinds={"h264"} if number < watched else set())),
        )
        for number in range(3)
    ]
    shelf = SimpleNamespace(costs={"ann": cost}, avatars={})
    sessions = {str(number): one for number, one in enumerate(live)}
    return Admission(
        Settings(**settings), shelf, sessions, lambda name, about: told.append((name, about)), pulse
    ), live[-1]


def test_nobody_is_let_in_beside_those_that_stutter():
    told, now = [], time.monotonic()
    admission, last = door(beaten(SKIPPED, 50, now=now), 2, told)
    with pytest.raises(BusyError, match=r"20\.0 % of the pictures are left out"):
        admission.admit(last)
    with pytest.raises(BusyError, match="not served in time"):
        admission.let_in("ann", is_leaving=False)
    assert [name for name, _ in told] == ["strained", "refused", "refused"], "the strain is told once"
    assert admission.num_refused == 2
    admission._pulse._seconds.clear()  # ten seconds go by
    admission.admit(last)
    admission.let_in("ann", is_leaving=False)
    assert told[-1] == ("eased", {})


def test_one_alone_may_try_and_an_operator_who_counts_may_overrule():
    now = time.monotonic()
    admission, last = door(beaten(SKIPPED, 50, now=now), 0, [])
    admission.admit(last)
    told = []
    admission, last = door(beaten(SKIPPED, 50, now=now), 2, told, max_speaking=3)
    admission.admit(last)
    admission.let_in("ann", is_leaving=False)
    assert [name for name, _ in told] == ["strained"]


def test_pictures_of_the_silent_take_the_room_of_those_who_would_come():
    dear = Cost(dict.fromkeys((1, 2, 4, 8, 16), 1e-6), 1.0, 1.0)
    admission, _ = door(Pulse(), 0, [], dear)
    admission.let_in("ann", is_leaving=False)  # nobody is watched, and one alone always may try
    admission, last = door(Pulse(), 0, [], dear, watched=2)
    with pytest.raises(BusyError, match="0 sessions would speak, and 3 more would be watched"):
        admission.let_in("ann", is_leaving=False)
    admission.admit(last)  # a page that is open already may speak, if it is the only one
    admission, last = door(Pulse(), 1, [], dear)
    with pytest.raises(BusyError, match="2 sessions would speak: more than"):
        admission.admit(last)
