"""A damaged member never reaches the model, never shortens an epoch, and is always counted."""

import json

import numpy as np
import pytest
import torch
from stand_ins import DamagedClips

from anchor.errors import ShardError
from datamodules.base import WindowDataModule
from datamodules.order import WindowKey
from datamodules.quarantine import MIN_ALLOWED, Damage, Quarantine, count_damaged
from datamodules.windows import WindowDataset


class Data(WindowDataModule):
    """The shared datamodule over a stand-in source."""

    def __init__(self, source, **options):
        super().__init__(**{"image_size": 32, "batch_size": 8, "cache_mb": 0, **options})
        self.stand_in = source

    def open_source(self):
        return self.stand_in


def windows(loader):
    for batch in loader:
        rows = zip(batch["clip_B"].tolist(), batch["frame_B"].tolist(), batch["weight_B"].tolist(), strict=True)
        yield from ((clip, frame) for clip, frame, weight in rows if weight > 0)


@pytest.mark.parametrize("cache_mb", [0, 64])
def test_a_damaged_frame_costs_only_the_windows_that_need_it_and_each_gets_a_stand_in(
    numbered_clips, tmp_path, cache_mb, capsys
):
    path = tmp_path / "run" / "quarantine.jsonl"
    data = Data(DamagedClips(), drawing=False, quarantine=path, cache_mb=cache_mb)
    seen = list(windows(data.train_dataloader()))
    whole = list(windows(Data(numbered_clips(), drawing=False).train_dataloader()))
    lost = {(0, frame) for frame in range(8, 13)}
    assert len(seen) == len(whole)  # never a shorter epoch
    assert not lost & set(seen)
    assert sum(a != b for a, b in zip(seen, whole, strict=True)) == data.quarantine.count == 5
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {tuple(line["window"]) for line in lines} == {("clip0", frame) for _, frame in lost}
    assert {(line["shard"], line["clip"], line["member"]) for line in lines} == {("s.tar", "clip0", "frames.jpgs")}
    assert {line["shown"][0] for line in lines} == {"clip0"}
    printed = capsys.readouterr().err
    assert "s.tar: clip 'clip0', frames.jpgs is damaged: its bytes do not match; shown in its place: 'clip0'" in printed
    assert len(printed.splitlines()) == 3  # at 1, 2 and 4 windows


def test_stand_ins_do_not_depend_on_workers():
    alone = Data(DamagedClips(), negatives_per_window=2)
    helped = Data(DamagedClips(), negatives_per_window=2, num_workers=2)
    for one, two in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert alone.quarantine.count == helped.quarantine.count > 0


def test_a_clip_without_speech_gives_its_place_to_others():
    source = DamagedClips()
    source.bad_frames, source.bad_mels = set(), {"clip2"}
    data = Data(source, drawing=False, negatives_per_window=1)
    seen = list(windows(data.train_dataloader()))
    assert len(seen) == 78
    assert {clip for clip, _ in seen} == {0, 1}
    assert data.quarantine.count >= 16  # its own windows, and wrong speech drawn from it


def test_a_damaged_wrong_speech_is_drawn_anew():
    source = DamagedClips()
    source.bad_frames, source.bad_mels = set(), {"clip2"}
    data = Data(source, drawing=False, negatives_per_window=4, near=0.0, far=0.0, foreign=1.0, max_damaged=1.0)
    for batch in data.train_dataloader():
        heard = np.unique(batch["wrong_mels_BK1MS"].numpy())
        assert not ((heard > -1.0) & (heard < -0.9)).all()  # clip2's begins at -1
    assert 16 < data.quarantine.count <= 78  # a window counts once


def test_over_the_limit_the_run_ends_and_says_what_to_do(tmp_path):
    source = DamagedClips()
    source.bad_frames = {("clip1", frame) for frame in range(40)}
    path = tmp_path / "quarantine.jsonl"
    with pytest.raises(ShardError, match=rf"{MIN_ALLOWED + 1} of the 78 windows of epoch 0.*anchor shards verify"):
        list(Data(source, drawing=False, quarantine=path).train_dataloader())
    assert len(path.read_text().splitlines()) == MIN_ALLOWED + 1
    with pytest.raises(ShardError, match=r"1 of the 78 windows.*and 0 may be"):
        list(Data(DamagedClips(), drawing=False, max_damaged=0.0).train_dataloader())


@pytest.mark.parametrize("workers", [0, 1])
def test_validation_allows_no_damage_and_says_so_in_a_sentence(tmp_path, workers):
    source = DamagedClips()
    source.bad_mels = {"clip3"}
    data = Data(source, quarantine=tmp_path / "quarantine.jsonl", num_workers=workers)
    with pytest.raises(ShardError, match=r"^s.tar: clip 'clip3', mel.npy is damaged: .* validation would change"):
        list(data.val_dataloader())
    assert json.loads((tmp_path / "quarantine.jsonl").read_text())["split"] == "val"


def test_a_set_that_is_damaged_everywhere_ends_the_run():
    source = DamagedClips()
    source.bad_mels = {f"clip{i}" for i in range(4)}
    with pytest.raises(ShardError, match="16 windows that should have taken its place"):
        list(Data(source, max_damaged=1.0).train_dataloader())


def test_ranks_and_restarts_share_one_count(tmp_path):
    """Four ranks that see a quarter each end where one would, and a restart does not begin to count anew."""
    path = tmp_path / "quarantine.jsonl"
    quarantines = [Quarantine(path, 0.001, rank) for rank in range(4)]
    for frame in range(32):
        quarantines[frame % 4].add([damage(frame)], 1000)
    with pytest.raises(ShardError, match="33 of the 1000 windows of epoch 2"):
        quarantines[0].add([damage(32)], 1000)
    again = Quarantine(path, 0.001)
    again.add([damage(0, epoch=3)], 1000)  # another epoch begins at nothing
    with pytest.raises(ShardError, match="33 of the 1000"):
        Quarantine(path, 0.001).add([damage(0)], 1000)  # the same epoch after a kill; a window counts once
    path.write_text(path.read_text() + '{"half a li')
    assert count_damaged(path) == 34


def damage(frame, epoch=2):
    return Damage("s.tar", "c", "frames.jpgs", "torn", "train", epoch, ("c", frame), ("c", 0))


def test_what_only_fills_a_batch_up_is_no_damage():
    data = WindowDataset(DamagedClips(), "train", image_size=32, seed=0, drawing=False)
    assert len(data[[WindowKey(0, 10, 0)]].damages) == 1
    assert data[[WindowKey(0, 10, 0, weight=0.0)]].damages == []
