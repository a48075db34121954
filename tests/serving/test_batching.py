import numpy as np
import pytest

from anchor.serving.batching import BUCKETS, Request, bucket_of, next_batch


def request(session: int, deadline: float, avatar: str = "ann") -> Request:
    return Request(session, avatar, 0, 0, 0, np.zeros((80, 16), np.float32), deadline)


@pytest.mark.parametrize("count", range(1, 40))
def test_a_batch_has_a_known_size_and_wastes_little(count):
    taken, size = bucket_of(count)
    assert size in BUCKETS
    assert 0 < taken <= min(count, size)
    assert taken >= 0.75 * size


def test_the_most_urgent_go_first():
    waiting = [request(i, deadline) for i, deadline in enumerate([5.0, 1.0, 3.0, 2.0, 4.0])]
    batch, size, late = next_batch(waiting, now=0.0)
    assert ([one.session for one in batch], size, late) == ([1, 3, 2, 4], 4, [])
    assert [one.session for one in waiting] == [0]


def test_nothing_is_drawn_that_nobody_waits_for():
    waiting = [request(0, 1.0), request(1, 2.0)]
    batch, size, late = next_batch(waiting, now=1.5)
    assert ([one.session for one in batch], size, [one.session for one in late]) == ([1], 1, [0])
    assert next_batch([request(0, 1.0)], now=2.0)[:2] == ([], 0)


def test_a_picture_in_a_hurry_does_not_wait_for_a_full_batch():
    def cost_s(avatar, size):
        return 0.01 * size

    waiting = [request(i, 0.045) for i in range(8)]
    batch, size, late = next_batch(waiting, 0.0, cost_s)
    assert (len(batch), size, late) == (4, 4, [])
    assert len(waiting) == 4


def test_a_slow_network_makes_only_its_own_pictures_late():
    waiting = [request(0, 0.1, "ann"), request(1, 0.1, "bob")]
    batch, _, late = next_batch(waiting, 0.0, lambda avatar, size: {"ann": 0.01, "bob": 0.5}[avatar])
    assert [one.session for one in batch] == [0]
    assert [one.session for one in late] == [1]


def test_a_batch_is_of_one_avatar():
    waiting = [request(0, 1.0, "ann"), request(1, 1.1, "bob"), request(2, 1.2, "ann")]
    batch, size, _ = next_batch(waiting, 0.0)
    assert ([one.session for one in batch], size) == ([0, 2], 2)
    assert [one.session for one in waiting] == [1]


def test_every_request_is_drawn_or_named_late():
    rng = np.random.default_rng(0)
    waiting = [request(i, float(rng.uniform(0, 2)), "ab"[i % 2]) for i in range(100)]
    now, drawn, missed = 0.0, [], []
    while waiting:
        batch, _size, late = next_batch(waiting, now, lambda avatar, size: 0.02)
        drawn += [one.session for one in batch]
        missed += [one.session for one in late]
        now += 0.02
    assert sorted(drawn + missed) == list(range(100))
