from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from datamodules.groups import EpochOrder, WindowGroups
from datamodules.order import TrainOrder, ValidationOrder
from datamodules.shuffle import make_key, permute

CLIPS = [ClipEntry(f"c{i}", f"s{i}", "train", n, None) for i, n in enumerate((30, 47, 5, 4, 12))]
WINDOWS = {(i, frame) for i, clip in enumerate(CLIPS) for frame in range(2, clip.num_frames - 2)}


def keys(order, epoch=0):
    """The real windows of every batch of an epoch."""
    order.epoch, order.given = epoch, 0
    return [[(key.clip, key.frame) for key in batch if key.weight > 0] for batch in order]


@pytest.mark.parametrize("per_clip", [1, 3])
def test_an_epoch_shows_every_window_once(per_clip):
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=per_clip, seed=1)
    batches = keys(order)
    assert Counter(key for batch in batches for key in batch) == Counter(WINDOWS)
    assert len(batches) == len(order)


def test_a_clip_may_be_shown_several_times_each_with_chances_of_its_own():
    clips = [CLIPS[0], replace(CLIPS[1], repeat=3)]
    order = TrainOrder(clips, batch_size=6, windows_per_clip=3, seed=1)
    shown = Counter(key for batch in order for key in batch if key.weight > 0)
    assert set(shown.values()) == {1}  # turns differ
    frames = Counter((key.clip, key.frame) for key in shown)
    assert {count for (clip, _), count in frames.items() if clip == 1} == {3}
    assert {count for (clip, _), count in frames.items() if clip == 0} == {1}


def test_windows_of_one_clip_in_a_group_do_not_overlap():
    groups = WindowGroups(np.array([30, 47, 5, 4, 12]), np.ones(5, int), 3)
    windows, counts = groups.expand(np.arange(groups.num_groups), (0, 0))
    assert set(counts.tolist()) <= {1, 2, 3, 4}
    for end, count in zip(np.cumsum(counts), counts, strict=True):
        own = windows.part(end - count, end)
        assert len(set(own.clip.tolist())) == 1
        assert all(b - a >= 5 for a, b in pairwise(sorted(own.frame.tolist())))
    met = groups.expand(np.arange(groups.num_groups), (0, 1))[0]
    assert not np.array_equal(met.frame, windows.frame)  # another epoch, other company


@pytest.mark.parametrize("neighbours", [False, True])
def test_long_windows_are_five_frames_apart_too_and_each_is_shown_once(neighbours):
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=4, seed=1, frames=16, neighbours=neighbours)
    wanted = {(i, frame) for i, clip in enumerate(CLIPS) for frame in range(8, clip.num_frames - 7)}
    assert Counter(key for batch in keys(order) for key in batch) == Counter(wanted)
    windows, counts = order.groups.expand(np.arange(order.groups.num_groups), (0, 0))
    for end, count in zip(np.cumsum(counts), counts, strict=True):
        own = windows.part(end - count, end)
        assert all(b - a >= 5 for a, b in pairwise(sorted(own.frame.tolist())))


def test_neighbours_follow_each_other_but_where_the_clip_begins_again():
    groups = WindowGroups(np.array([204, 404]), np.ones(2, int), 8, neighbours=True)  # 40 and 80 windows a class
    met = []
    for epoch in (0, 1):
        windows, counts = groups.expand(np.arange(groups.num_groups), (0, epoch))
        assert Counter(zip(windows.clip.tolist(), windows.frame.tolist(), strict=True)).most_common(1)[0][1] == 1
        own = [windows.part(end - count, end).frame for end, count in zip(np.cumsum(counts), counts, strict=True)]
        jumps = np.array([(np.diff(frames) != 5).sum() for frames in own])
        assert (np.abs(np.concatenate([np.diff(frames) for frames in own])) >= 5).all()
        assert jumps.max() <= 1
        assert jumps.sum() <= 10  # once in each of the ten classes at most
        met.append(np.concatenate(own))
    assert not np.array_equal(*met)  # another epoch, cut elsewhere
    spread = WindowGroups(np.array([204, 404]), np.ones(2, int), 8)
    frames = spread.expand(np.arange(spread.num_groups), (0, 0))[0].frame
    assert (np.diff(frames[:8]) != 5).any()


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("per_clip", [1, 2, 5])
def test_ranks_share_the_global_batches_of_one_rank(world_size, per_clip):
    alone = keys(TrainOrder(CLIPS, batch_size=12, windows_per_clip=per_clip, seed=3), epoch=2)
    orders = [
        TrainOrder(CLIPS, batch_size=12, windows_per_clip=per_clip, seed=3, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    shares = [keys(order, epoch=2) for order in orders]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert whole == [key for part in parts for key in part]
    assert len({len(order) for order in orders}) == 1
    assert Counter(key for batch in alone for key in batch) == Counter(WINDOWS)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_last_batch_is_filled_up_with_windows_that_count_nothing(world_size):
    orders = [
        TrainOrder(CLIPS, batch_size=12, windows_per_clip=2, seed=3, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    batches = [list(order) for order in orders]
    assert {len(batch) for own in batches for batch in own} == {12 // world_size}
    last = [key for own in batches for key in own[-1]]
    real = [key for key in last if key.weight > 0]
    assert len(real) == len(WINDOWS) % 12 > 0
    assert sum(key.weight for key in last) == pytest.approx(12)
    assert {key.weight for own in batches for batch in own[:-1] for key in batch} == {1.0}


def test_a_batch_larger_than_the_epoch_holds_each_window_once():
    (batch,) = TrainOrder(CLIPS[2:], batch_size=40, windows_per_clip=1, seed=0)
    assert len(batch) == 40
    real = [key for key in batch if key.weight > 0]
    assert sorted((key.clip, key.frame) for key in real) == [(0, 2), *((2, frame) for frame in range(2, 10))]


@pytest.mark.parametrize("given", range(0, 84, 6))
def test_a_pass_that_starts_within_an_epoch_shows_the_rest_of_it(given):
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=3, seed=5)
    whole = keys(order, 4)
    order.epoch, order.given = 4, given
    assert [[(key.clip, key.frame) for key in batch if key.weight > 0] for batch in order] == whole[given // 6 :]


def test_a_new_batch_size_goes_on_at_the_very_window():
    whole = [key for batch in keys(TrainOrder(CLIPS, batch_size=6, windows_per_clip=3, seed=5)) for key in batch]
    order = TrainOrder(CLIPS, batch_size=8, windows_per_clip=3, seed=5)
    order.given = 18
    rest = [(key.clip, key.frame) for batch in order for key in batch if key.weight > 0]
    assert rest == whole[18:]


def test_epochs_differ_and_seeds_repeat():
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=5)
    assert keys(order, 0) != keys(order, 1)
    assert keys(order, 1) == keys(TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=5), 1)


def test_sizes_that_do_not_divide_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="batch_size=0 is no number"):
        TrainOrder(CLIPS, batch_size=0, windows_per_clip=3, seed=0)
    with pytest.raises(ConfigError, match=r"4 cards cannot share.*3 or 6 cards, or datamodule.batch_size=4 or 8\."):
        TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=0, world_size=4)
    with pytest.raises(ConfigError, match=r"8 cards cannot share.*Use 6 cards, or datamodule.batch_size=8\."):
        TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=0, world_size=8)
    with pytest.raises(ConfigError, match="No training clip has 5 frames"):
        TrainOrder(CLIPS[3:4], batch_size=6, windows_per_clip=1, seed=0)


def test_validation_windows_are_fixed_and_shared_without_loss():
    whole = keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3))
    assert whole == keys_of(ValidationOrder(CLIPS, batch_size=7, windows_per_clip=3))
    for world_size in (2, 3, 4):
        orders = [
            ValidationOrder(CLIPS, batch_size=2, windows_per_clip=3, rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        assert len({len(order) for order in orders}) == 1
        assert sorted(key for order in orders for key in keys_of(order)) == sorted(whole)
        assert all(1 <= len(batch) <= 2 for order in orders for batch in order)
    assert set(whole) <= WINDOWS
    assert len(set(whole)) == len(whole) == 3 + 3 + 1 + 3


def test_a_sample_of_the_validation_windows_comes_from_every_clip():
    whole = keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3))
    some = keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3, most=4))
    assert len(some) == 4
    assert set(some) < set(whole)
    assert len({clip for clip, _ in some}) >= 3
    assert keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3, most=99)) == whole


def test_validation_windows_of_a_long_expert_lie_within_their_clips():
    found = keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=50, frames=16))
    assert set(found) == {(i, f) for i, clip in enumerate(CLIPS) for f in range(8, clip.num_frames - 7)}


def keys_of(order):
    return [(key.clip, key.frame) for batch in order for key in batch]


@pytest.mark.parametrize("size", [1, 7])
def test_an_epoch_of_many_clips_holds_each_window_once(size):
    num_frames = np.random.default_rng(0).integers(3, 300, 1500)
    groups = WindowGroups(num_frames, np.ones(1500, int), size)
    windows = EpochOrder(groups, 5, 1).windows(0, groups.num_windows)
    whole = windows.clip * 1000 + windows.frame
    wanted = np.concatenate([i * 1000 + np.arange(2, n - 2) for i, n in enumerate(num_frames.tolist()) if n > 4])
    assert np.array_equal(np.sort(whole), wanted)
    part = EpochOrder(groups, 5, 1).windows(100_000, 100_050)
    assert np.array_equal(part.clip * 1000 + part.frame, whole[100_000:100_050])
    assert len(set(windows.clip[:200].tolist())) > 200 / (size + 2)  # far apart


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 64, 100, 1025])
def test_a_keyed_permutation_takes_every_place_once_and_another_key_another_way(size):
    one = permute(np.arange(size), size, make_key(1, 2))
    assert sorted(one.tolist()) == list(range(size))
    if size > 16:
        assert not np.array_equal(one, permute(np.arange(size), size, make_key(1, 3)))


def test_the_order_is_the_same_on_every_machine_and_in_every_version():
    assert permute(np.arange(8), 8, make_key(1, 2)).tolist() == [5, 0, 1, 4, 2, 3, 6, 7]
