"""The kinds of damage that happen to shards, before and after opening: never a wrong picture, never a clip less."""

import shutil

import numpy as np
import pytest
from damaging import flip, read_all

from anchor.errors import DamagedError, ShardError
from anchor.shards import ShardSet


@pytest.fixture(params=["jpeg", "h264"])
def whole(request, tmp_path, new_shards):
    """A set of one shard and what it holds."""
    path = new_shards(tmp_path / "set", codec=request.param, max_shard_bytes=10**9)
    return path, dict(read_all(ShardSet(path)))


def _places(source):
    """The begin of the gap, begin and end of each member of the only shard, with key and name."""
    index = source.index(0)
    return [(key, name, *index.place(row, name)) for row, key in enumerate(source.clips.keys()) for name in index.names]


def _expect_whole_or_refused(content, read, minimum=1):
    """Every clip is what was written, or refused with its own key; at least ``minimum`` are refused."""
    assert [key for key, _ in read] == list(content)
    refused = [(key, found) for key, found in read if isinstance(found, DamagedError)]
    assert all(found == content[key] for key, found in read if not isinstance(found, DamagedError))
    assert all(found.key == key and found.shard.endswith("shard-000000.tar") for key, found in refused)
    assert len(refused) >= minimum
    return [key for key, _ in refused]


CUTS = {
    "in a payload": lambda gap, begin, end: (begin + end) // 2,
    "in a header": lambda gap, begin, end: begin - 300,
    "at a member boundary": lambda gap, begin, end: end,
    "before a header": lambda gap, begin, end: begin - 512,
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("member", [0, 2, -1])
def test_a_cut_is_found_at_opening_and_after_it(whole, cut, member):
    path, content = whole
    shard, opened = path / "shard-000000.tar", ShardSet(path)
    members = [place for place in _places(opened) if place[0] == "clip3"]
    place = CUTS[cut](*members[member][2:])
    shard.write_bytes(shard.read_bytes()[:place])
    with pytest.raises(ShardError, match=rf"{shard} has {place} bytes, the manifest says"):
        ShardSet(path)
    refused = _expect_whole_or_refused(content, read_all(opened), minimum=2)
    assert {"clip4", "clip5"} <= set(refused) <= {"clip3", "clip4", "clip5"}
    found = list(opened.verify())
    assert len(found) > 12 // 2
    assert "the manifest says" in str(found[0])


def test_an_empty_and_a_missing_shard_are_found_at_opening_and_after_it(whole):
    path, content = whole
    shard = path / "shard-000000.tar"
    for spoil in (lambda: shard.write_bytes(b""), shard.unlink):
        opened = ShardSet(path, check=False)
        spoil()
        with pytest.raises(ShardError, match=r"shard-000000\.tar (has 0 bytes|is missing)"):
            ShardSet(path)
        _expect_whole_or_refused(content, read_all(opened), minimum=6)


def test_a_flipped_byte_in_any_header_is_found(whole):
    path, content = whole
    shard, rng = path / "shard-000000.tar", np.random.default_rng(0)
    data = shard.read_bytes()
    for key, name, _, begin, _ in _places(ShardSet(path)):
        flip(shard, begin - 512 + int(rng.integers(512)))
        source = ShardSet(path, check=False)
        assert _expect_whole_or_refused(content, read_all(source)) == [key]
        (found,) = [found for found in source.verify() if isinstance(found, DamagedError)]
        assert (found.key, found.member) == (key, name)
        shard.write_bytes(data)


def test_a_zeroed_hole_is_found_wherever_it_lies(whole):
    path, content = whole
    shard, hole = path / "shard-000000.tar", 4600
    data = shard.read_bytes()
    end = ShardSet(path).index(0).end
    for begin in np.linspace(0, end - hole, 12).astype(int).tolist():
        assert any(data[begin : begin + hole])
        shard.write_bytes(data[:begin] + bytes(hole) + data[begin + hole :])
        source = ShardSet(path, check=False)
        _expect_whole_or_refused(content, read_all(source))
        assert any(isinstance(found, DamagedError) for found in source.verify())


def test_flipped_bits_anywhere_never_become_pictures(whole):
    path, content = whole
    shard, rng = path / "shard-000000.tar", np.random.default_rng(1)
    data, end = shard.read_bytes(), ShardSet(path).index(0).end
    for place in rng.integers(0, end, 25).tolist():
        flip(shard, place, 1 << int(rng.integers(8)))
        assert len(_expect_whole_or_refused(content, read_all(ShardSet(path, check=False)))) == 1
        shard.write_bytes(data)


def test_bytes_after_the_last_member_are_seen_by_verify_alone(whole):
    path, content = whole
    shard = path / "shard-000000.tar"
    flip(shard, shard.stat().st_size - 10)
    source = ShardSet(path)
    _expect_whole_or_refused(content, read_all(source), minimum=0)
    (found,) = source.verify()
    assert "is not the file that was written, though every member is" in str(found)


def test_a_shard_replaced_by_another_clip_of_equal_layout_is_found(whole, tmp_path, new_shards):
    path, content = whole
    opened = ShardSet(path)
    other = new_shards(tmp_path / "other", range(10, 16), opened.codec, 10**9)
    shutil.copy(other / "shard-000000.tar", path / "shard-000000.tar")
    _expect_whole_or_refused(content, read_all(opened), minimum=6)
    with pytest.raises(ShardError, match=r"shard-000000\.tar"):
        ShardSet(path)


def test_damage_errors_survive_a_pipe_between_processes(whole):
    import pickle

    path, _ = whole
    flip(path / "shard-000000.tar", ShardSet(path).index(0).end - 3)
    source = ShardSet(path)
    with pytest.raises(DamagedError) as caught:
        source.read_meta(source.clips[5])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.key, again.member) == (str(caught.value), "clip5", "meta.json")
