import itertools

import numpy as np
import pytest

from anchor.errors import ConfigError, MediaError
from anchor.ops.mel import log_mel
from anchor.preprocess.segments import Segment, cut_audio, cut_mel, hold_out_from, plan_segments
from anchor.preprocess.sound import mel_in_pieces
from anchor.preprocess.sources import find_sources
from anchor.preprocess.splits import Part, assign_splits


def spans(ids, **options):
    return [(s.start, s.stop) for s in plan_segments(np.array(ids), **{"max_frames": 250, "min_frames": 15, **options})]


def test_segments_start_on_the_grid_and_hold_one_face():
    assert spans([0] * 100) == [(0, 100)]
    assert spans([-1] * 3 + [0] * 97) == [(5, 100)]
    assert spans([0] * 52 + [1] * 48) == [(0, 52), (55, 100)]
    assert spans([0] * 40 + [-1] * 20 + [2] * 40) == [(0, 40), (60, 100)]
    assert spans([0] * 10 + [-1] * 20) == []
    assert spans([]) == []


@pytest.mark.parametrize("length", [250, 251, 262, 499, 500, 612, 1499])
def test_long_stretches_are_cut_evenly_and_wholly(length):
    parts = spans([0] * length)
    assert all(start % 5 == 0 and 15 <= stop - start <= 250 for start, stop in parts)
    assert parts[0][0] == 0
    assert parts[-1][1] == length
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))


def test_a_single_segment_can_be_halved():
    assert spans([0] * 100, min_segments=2) == [(0, 50), (50, 100)]
    assert spans([0] * 20, min_segments=2) == [(0, 20)]  # too short for two


def test_no_segment_reaches_over_a_cut():
    assert spans([0] * 300, cut_at=200) == [(0, 200), (200, 300)]
    assert spans([0] * 600, cut_at=350) == [(0, 175), (175, 350), (350, 600)]
    assert spans([0] * 60 + [-1] * 40, cut_at=80) == [(0, 60)]
    assert spans([0] * 100, cut_at=100) == spans([0] * 100, cut_at=None) == [(0, 100)]


@pytest.mark.parametrize("total", [1500, 1499, 752, 751, 400, 75, 44, 20])
def test_the_end_of_a_clip_is_held_out_but_never_more_than_a_third(total):
    start = hold_out_from(total, 250, 15)
    if total < 50:
        assert start is None
    else:
        assert start % 5 == 0
        assert min(250, total // 3) - 5 < total - start <= min(250, total // 3)
    assert hold_out_from(total, 0, 15) is None


def test_the_mel_of_a_segment_is_that_of_its_own_sound():
    samples = (0.1 * np.random.default_rng(0).standard_normal(640 * 200)).astype(np.float32)
    whole = log_mel(samples)
    for segment in (Segment(0, 50), Segment(35, 112), Segment(150, 200)):
        piece, own = cut_mel(whole, segment), log_mel(cut_audio(samples, segment))
        assert piece.shape == own.shape
        np.testing.assert_allclose(piece[3:-3], own[3:-3], atol=1e-3)


def parts_of(**speakers):
    return [Part(f"{name}{i}", name, 100) for name, count in speakers.items() for i in range(count)]


def test_speakers_are_held_out_whole_and_always_the_same():
    parts = parts_of(**{f"s{i}": 3 for i in range(200)})
    splits = assign_splits(parts, "auto", 0.1, 0)
    assert splits == assign_splits(parts, "auto", 0.1, 0)
    assert splits != assign_splits(parts, "auto", 0.1, 1)
    held_out = {part.speaker for part, split in zip(parts, splits, strict=True) if split == "val"}
    assert 10 <= len(held_out) <= 30  # each with a probability of a tenth: 20 and a standard deviation of 4.2
    assert splits.count("val") == 3 * len(held_out)
    shuffled = parts[::-1]
    assert assign_splits(shuffled, "auto", 0.1, 0) == splits[::-1]


def test_a_set_that_grows_moves_nobody_to_the_other_side():
    def sides(names):
        parts = parts_of(**dict.fromkeys(names, 2))
        return {part.speaker: side for part, side in zip(parts, assign_splits(parts, "speaker", 0.1, 0), strict=True)}

    names = [f"s{i}" for i in range(200)]
    everybody = sides(names)
    for count in (60, 100, 199):
        some = sides(names[:count])
        assert some == {name: everybody[name] for name in some}


@pytest.mark.parametrize("val_share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("split", ["auto", "time"])
def test_neither_side_is_ever_empty(val_share, split):
    for parts in (parts_of(a=1, b=1), parts_of(a=2), parts_of(a=9)):
        assert set(assign_splits(parts, split, val_share, 0)) == {"train", "val"}


def test_by_time_the_end_is_held_out():
    assert assign_splits(parts_of(a=10), "time", 0.2, 0) == ["train"] * 8 + ["val"] * 2
    assert assign_splits(parts_of(a=3), "auto", 0.1, 0) == ["train", "train", "val"]
    with pytest.raises(ConfigError, match="needs two speakers"):
        assign_splits(parts_of(a=3), "speaker", 0.1, 0)


def test_speakers_come_from_folders_or_files(tmp_path):
    for name in ("ann/one.mp4", "ann/two.MOV", "bob/one.mp4", "loose.mp4", "loose.mpg", ".hidden/x.mp4", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "ann" / "one.truth.json").write_text("{}")
    found = find_sources(tmp_path)
    assert [(s.name, s.speaker) for s in found] == [
        ("ann/one.mp4", "ann"), ("ann/two.MOV", "ann"), ("bob/one.mp4", "bob"),
        ("loose.mp4", "loose"), ("loose.mpg", "loose"),
    ]  # fmt: skip
    assert len({s.key for s in found}) == 5
    assert all("." not in s.key and "/" not in s.key for s in found)
    assert found[0].truth_path is not None
    assert find_sources(tmp_path / "loose.mp4")[0].speaker == "loose"
    with pytest.raises(MediaError, match="does not exist"):
        find_sources(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no video"):
        find_sources(tmp_path / "empty")


def test_the_mel_of_a_long_clip_is_that_of_one_piece(monkeypatch):
    monkeypatch.setattr("anchor.preprocess.sound.PIECE_STEPS", 160)
    for length in (640 * 200, 640 * 200 + 399, 32_000, 200 * 161 + 7, 300):
        samples = (0.1 * np.random.default_rng(0).standard_normal(length)).astype(np.float32)
        np.testing.assert_allclose(mel_in_pieces(samples), log_mel(samples), atol=1e-3)
