from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from anchor.batch import ClipEntry
from anchor.errors import ConfigError
from datamodules.order import TrainOrder, ValidationOrder

CLIPS = [ClipEntry(f"c{i}", f"s{i}", "train", n, None) for i, n in enumerate((30, 47, 5, 4, 12))]
WINDOWS = {(i, frame) for i, clip in enumerate(CLIPS) for frame in range(2, clip.num_frames - 2)}


def keys(order, epoch=0):
    order.position = epoch * len(order)
    return [[(key.clip, key.frame) for key in batch] for batch in order]


@pytest.mark.parametrize("per_clip", [1, 3])
def test_an_epoch_shows_every_window_once(per_clip):
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=per_clip, seed=1)
    batches = keys(order)
    assert Counter(key for batch in batches for key in batch) == Counter(WINDOWS)
    assert len(batches) == len(order)


def test_a_clip_may_be_shown_several_times_each_with_chances_of_its_own():
    clips = [CLIPS[0], replace(CLIPS[1], repeat=3)]
    order = TrainOrder(clips, batch_size=6, windows_per_clip=3, seed=1)
    shown = Counter(key for batch in order for key in batch)
    assert set(shown.values()) == {1}  # turns differ
    frames = Counter((key.clip, key.frame) for key in shown)
    assert {count for (clip, _), count in frames.items() if clip == 1} == {3}
    assert {count for (clip, _), count in frames.items() if clip == 0} == {1}


def test_windows_of_one_clip_in_a_group_do_not_overlap():
    for batch in keys(TrainOrder(CLIPS[:1], batch_size=3, windows_per_clip=3, seed=0)):
        frames = sorted(frame for _, frame in batch)
        assert all(b - a >= 5 for a, b in pairwise(frames))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_global_batches_of_one_rank(world_size):
    alone = keys(TrainOrder(CLIPS, batch_size=12, windows_per_clip=2, seed=3), epoch=2)
    shares = [
        keys(TrainOrder(CLIPS, batch_size=12, windows_per_clip=2, seed=3, rank=r, world_size=world_size), epoch=2)
        for r in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    for whole, *parts in list(zip(alone, *shares, strict=True))[:-1]:
        assert sorted(whole) == sorted(key for part in parts for key in part)
    last = Counter(key for share in shares for key in share[-1])
    assert set(alone[-1]) <= set(last)
    assert all(share[-1] for share in shares)


def test_a_pass_that_starts_within_an_epoch_goes_on_into_the_next():
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=5)
    two_epochs = keys(order, 0) + keys(order, 1)
    order.position = 3
    assert [[(key.clip, key.frame) for key in batch] for batch in order] == two_epochs[3 : 3 + len(order)]


def test_epochs_differ_and_seeds_repeat():
    order = TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=5)
    assert keys(order, 0) != keys(order, 1)
    assert keys(order, 1) == keys(TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=5), 1)


def test_sizes_that_do_not_divide_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="Use 9"):
        TrainOrder(CLIPS, batch_size=8, windows_per_clip=3, seed=0)
    with pytest.raises(ConfigError, match=r"4 cards cannot share.*3 or 6 cards"):
        TrainOrder(CLIPS, batch_size=6, windows_per_clip=1, seed=0, world_size=4)
    with pytest.raises(ConfigError, match="No training clip has 5 frames"):
        TrainOrder(CLIPS[3:4], batch_size=6, windows_per_clip=1, seed=0)


def test_validation_windows_are_fixed_and_shared_without_loss():
    whole = keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3))
    assert whole == keys_of(ValidationOrder(CLIPS, batch_size=7, windows_per_clip=3))
    shared = [keys_of(ValidationOrder(CLIPS, batch_size=4, windows_per_clip=3, rank=r, world_size=2)) for r in (0, 1)]
    assert sorted(shared[0] + shared[1]) == sorted(whole)
    assert set(whole) <= WINDOWS
    assert len(set(whole)) == len(whole) == 3 + 3 + 1 + 3


def keys_of(order):
    return [(key.clip, key.frame) for batch in order for key in batch]
