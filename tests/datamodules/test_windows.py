import numpy as np
import pytest
import torch
from stand_ins import NumberedClips

from anchor.batch import select
from anchor.errors import ConfigError
from anchor.timing import WINDOW_RADIUS, mel_window
from datamodules.base import WindowDataModule
from datamodules.chances import Disguise
from datamodules.joined import JoinedSources, frames_of
from datamodules.order import WindowKey
from datamodules.shards import ShardDataModule
from datamodules.windows import WindowDataset


def test_a_window_holds_the_frames_and_the_speech_of_its_centre(numbered_clips):
    source = numbered_clips()
    data = WindowDataset(source, "train", image_size=32, seed=0, negatives_per_window=3)
    batch = data[[WindowKey(1, 20, 0), WindowKey(0, 2, 0)]].batch
    assert batch["faces_BTCHW"].shape == (2, 5, 3, 32, 32)
    assert batch["faces_BTCHW"][0, :, 1, 0, 0].tolist() == [18, 19, 20, 21, 22]
    assert (batch["faces_BTCHW"][0, :, 0] == 10).all()
    mel = source.read_mel(data.clips[1])
    assert np.allclose(batch["mel_B1MS"][0, 0], mel_window(mel, 20))
    for t, frame in enumerate(range(18, 23)):
        assert np.allclose(batch["mels_BT1MS"][0, t, 0], mel_window(mel, frame))
    assert batch["wrong_mels_BK1MS"].shape == (2, 3, 1, 80, 16)
    reference = int(batch["references_BCHW"][0, 1, 0, 0])
    assert abs(reference - 20) >= 5


def test_a_long_window_has_long_speech_and_each_frames_own_beside(numbered_clips):
    source = numbered_clips()
    data = WindowDataset(
        source, "train", image_size=32, seed=0, negatives_per_window=2, window_frames=16, disguise=Disguise(mirror=0)
    )
    batch = data[[WindowKey(1, 20, 0)]].batch
    assert batch["faces_BTCHW"].shape == (1, 16, 3, 32, 32)
    assert batch["mel_B1MS"].shape == (1, 1, 80, 52)
    assert batch["mels_BT1MS"].shape == (1, 16, 1, 80, 16)
    assert batch["wrong_mels_BK1MS"].shape == (1, 2, 1, 80, 52)
    plain = WindowDataset(source, "train", image_size=32, seed=0, window_frames=16)[[WindowKey(1, 20, 0)]].batch
    mel = source.read_mel(data.clips[1])
    assert plain["faces_BTCHW"][0, :, 1, 0, 0].tolist() == list(range(12, 28))
    assert np.allclose(plain["mel_B1MS"][0, 0], mel_window(mel, 20, 16))
    assert np.allclose(plain["mels_BT1MS"][0, 15, 0], mel_window(mel, 27))
    assert plain["wrong_mels_BK1MS"].shape == (1, 0, 1, 80, 52)


def test_a_silent_long_window_is_silent_throughout(numbered_clips):
    source = numbered_clips(lengths=(60, 60))
    speech = source.read_mel

    def quiet_in_the_middle(clip):
        mel_SM = speech(clip).copy()
        mel_SM[64:160] = -4  # frames 20 to 49
        return mel_SM

    source.read_mel = quiet_in_the_middle
    data = WindowDataset(source, "train", image_size=32, seed=0, window_frames=16, silence=1.0)
    batch = data[[WindowKey(0, 10, epoch) for epoch in range(12)]].batch
    assert (batch["mel_B1MS"] == -4).all()
    assert (batch["faces_BTCHW"][:, :, 1, 0, 0] >= 20).all()
    assert (batch["faces_BTCHW"][:, :, 1, 0, 0] < 50).all()


def test_pixels_and_speech_depend_on_the_key_alone(numbered_clips):
    keys = [WindowKey(0, frame, 3) for frame in (4, 9, 14)]
    one = WindowDataset(numbered_clips(), "train", image_size=32, seed=0, negatives_per_window=1, disguise=Disguise())
    two = WindowDataset(
        numbered_clips(), "train", image_size=32, seed=0, negatives_per_window=1, disguise=Disguise(), cache_mb=0
    )
    assert two[keys[::-1]].error is None
    first, second = one[keys].batch, two[keys].batch
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["faces_BTCHW"], one[[key._replace(epoch=4) for key in keys]].batch["faces_BTCHW"])


def test_other_sizes_are_resized(numbered_clips):
    data = WindowDataset(numbered_clips(), "train", image_size=24, seed=0)
    assert data[[WindowKey(0, 9, 0)]].batch["faces_BTCHW"].shape[-1] == 24


def test_a_split_is_decoded_once_where_it_fits_and_frame_by_frame_where_not(numbered_clips):
    source = numbered_clips(lengths=(60, 60, 60, 30))
    small = WindowDataset(source, "train", image_size=64, seed=0, cache_mb=3)  # 2.2 MB in all
    for clip in (0, 0, 1, 1, 0):
        _ = small[[WindowKey(clip, 9, 0)]]
    assert source.reads == 2
    large = WindowDataset(source, "train", image_size=64, seed=0, cache_mb=2)
    source.reads = 0
    for clip in (0, 0, 1, 1, 0):
        _ = large[[WindowKey(clip, 9, 0)]]
    assert source.reads == 5


class Turning(NumberedClips):
    """A head that turns once in 40 frames."""

    def read_frames(self, clip, frames):
        pictures = np.full((len(frames), 48, 48, 3), 90, np.uint8)
        for picture, frame in zip(pictures, frames, strict=True):
            left = 20 + round(12 * np.sin(2 * np.pi * frame / 40))
            picture[6:24, left : left + 8] = 200
            picture[47, 47] = frame
        return pictures


def test_the_reference_has_the_windows_pose_and_is_half_a_second_away():
    chosen = {}
    for candidates in (1, 12):
        data = WindowDataset(Turning((200, 200)), "train", image_size=48, seed=0, candidates=candidates)
        batch = data[[WindowKey(0, frame, 0) for frame in range(20, 180, 4)]].batch
        target = batch["frame_B"].numpy()
        reference = batch["references_BCHW"][:, 0, 47, 47].numpy().astype(int)
        assert (np.abs(reference - target) >= 13).all()
        turned = np.abs(np.sin(2 * np.pi * reference / 40) - np.sin(2 * np.pi * target / 40)).mean()
        chosen[candidates] = turned
    assert chosen[12] < 0.4 * chosen[1]


def test_several_references_stand_behind_each_other_in_the_channels():
    data = WindowDataset(Turning((200, 200)), "train", image_size=48, seed=0, references=3, candidates=9)
    batch = data[[WindowKey(0, 60, 0), WindowKey(0, 90, 0)]].batch
    assert batch["references_BCHW"].shape == (2, 9, 48, 48)
    numbers = batch["references_BCHW"][:, ::3, 47, 47]
    assert all(len(set(row.tolist())) == 3 for row in numbers)


class Pausing(NumberedClips):
    """Speech with a pause in the frames 20 to 39, and a room's noise in it."""

    def read_mel(self, clip):
        mel = np.zeros((clip.num_frames * 16 // 5 + 1, 80), np.float32)
        mel[64:129] = -3.0
        return mel


def test_silent_windows_have_their_share_and_half_of_them_hear_nothing_at_all():
    data = WindowDataset(Pausing((100, 100)), "train", image_size=32, seed=0, silence=0.3)
    batch = data[[WindowKey(0, 2 + number % 96, number // 96) for number in range(480)]].batch
    asked = torch.tensor([2 + number % 96 for number in range(480)])
    moved = batch["frame_B"] != asked
    assert 0.2 < moved.float().mean() < 0.4
    assert ((batch["frame_B"][moved] >= 24) & (batch["frame_B"][moved] <= 36)).all()
    mute = (batch["mels_BT1MS"] == -4).flatten(1).all(1)
    assert 0.35 < mute[moved].float().mean() < 0.65
    assert (batch["mels_BT1MS"][moved & ~mute] == -3).all()
    assert torch.equal(batch["faces_BTCHW"][:, 2, 1, 0, 0].long(), batch["frame_B"])


@pytest.mark.parametrize(("split", "drawing"), [("val", True), ("train", False)])
def test_validation_and_the_expert_are_left_alone(split, drawing):
    data = WindowDataset(Pausing((100, 100)), split, image_size=32, seed=0, silence=1.0, drawing=drawing)
    assert data[[WindowKey(0, 60, 0)]].batch["frame_B"].tolist() == [60]


class Module(WindowDataModule):
    """The shared datamodule over a stand-in source."""

    def __init__(self, source, **options):
        super().__init__(image_size=32, **options)
        self.stand_in = source

    def open_source(self):
        return self.stand_in


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_yield_whole_batches_whatever_the_workers(numbered_clips, num_workers):
    module = Module(numbered_clips(), batch_size=8, windows_per_clip=4, num_workers=num_workers, cache_mb=8)
    batches = list(module.train_dataloader())
    alone = list(Module(numbered_clips(), batch_size=8, windows_per_clip=4, cache_mb=8).train_dataloader())
    assert sum(int((batch["weight_B"] > 0).sum()) for batch in batches) == sum(
        n - 2 * WINDOW_RADIUS for n in (30, 40, 20)
    )
    assert {len(batch["weight_B"]) for batch in batches} == {8}
    assert all(torch.equal(a["mel_B1MS"], b["mel_B1MS"]) for a, b in zip(batches, alone, strict=True))
    assert all(torch.equal(a["faces_BTCHW"], b["faces_BTCHW"]) for a, b in zip(batches, alone, strict=True))


def test_a_source_without_a_split_is_refused(numbered_clips):
    with pytest.raises(ConfigError, match="hold no val clip"):
        Module(numbered_clips(val=0)).setup()


def test_chances_depend_on_the_seed_and_on_the_clip(numbered_clips):
    source = numbered_clips(lengths=(30, 30, 30, 36))
    one, two = (
        WindowDataset(source, "train", image_size=32, seed=seed, negatives_per_window=1, disguise=Disguise())
        for seed in (0, 1)
    )
    key = WindowKey(0, 10, 0)
    assert not torch.equal(one[[key]].batch["faces_BTCHW"], two[[key]].batch["faces_BTCHW"])
    looks = [one[[key._replace(clip=clip)]].batch["faces_BTCHW"][0, 0, 1].float() for clip in (0, 1)]
    assert not torch.equal(*looks)  # the stand-in's green is the frame alone: only chance can tell them apart


def test_less_material_is_the_first_seconds_of_training_and_all_that_is_held_out():
    clips = NumberedClips((50, 60, 40), val=1)
    whole, less = JoinedSources([clips], [1]), JoinedSources([clips], [1], material_frames=70)
    assert [clip.num_frames for clip in select(less.clips, "train")] == [50, 20]
    assert frames_of(select(less.clips, "train")).tolist() == [50, 20]
    assert frames_of(select(less.clips, "val")).tolist() == frames_of(select(whole.clips, "val")).tolist()
    assert less.identity != whole.identity
    none = JoinedSources([clips], [1], material_frames=53)  # three frames are no window
    assert [clip.num_frames for clip in select(none.clips, "train")] == [50]
    with pytest.raises(ConfigError, match=r"material_s=0\.1 is shorter than a window"):
        ShardDataModule(path="x", image_size=32, material_s=0.1)
