import numpy as np
import pytest
import torch

from anchor.errors import ConfigError
from anchor.timing import WINDOW_RADIUS, mel_window
from datamodules.base import WindowDataModule
from datamodules.chances import Disguise
from datamodules.order import WindowKey
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
