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
    batch = data[[WindowKey(1, 20, 0), WindowKey(0, 2, 0)]]
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
    _ = two[keys[::-1]]
    first, second = one[keys], two[keys]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["faces_BTCHW"], one[[key._replace(epoch=4) for key in keys]]["faces_BTCHW"])


def test_other_sizes_are_resized(numbered_clips):
    assert (
        WindowDataset(numbered_clips(), "train", image_size=24, seed=0)[[WindowKey(0, 9, 0)]]["faces_BTCHW"].shape[-1]
        == 24
    )


def test_decoded_clips_are_kept_within_the_budget(numbered_clips):
    source = numbered_clips(lengths=(60, 60, 60, 30))
    data = WindowDataset(source, "train", image_size=64, seed=0, cache_mb=1)  # one clip takes 0.7 MB
    for clip in (0, 0, 1, 1, 0):
        data[[WindowKey(clip, 9, 0)]]
    assert source.reads == 3
    assert data._pictures.used <= 2**20


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
    assert sum(len(batch["clip_B"]) for batch in batches) == sum(n - 2 * WINDOW_RADIUS for n in (30, 40, 20))
    assert all(torch.equal(a["mel_B1MS"], b["mel_B1MS"]) for a, b in zip(batches, alone, strict=True))
    assert all(torch.equal(a["faces_BTCHW"], b["faces_BTCHW"]) for a, b in zip(batches, alone, strict=True))


def test_a_source_without_a_split_is_refused(numbered_clips):
    with pytest.raises(ConfigError, match="hold no val clip"):
        Module(numbered_clips(val=0)).setup()
