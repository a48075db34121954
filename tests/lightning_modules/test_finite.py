"""A loss that is no number ends the run before anything has learnt from it."""

import pytest
import torch
from small_runs import Data, fit

from anchor.errors import TrainingError
from anchor.models import PatchDiscriminator
from lightning_modules import QualityModule, SyncNetModule
from lightning_modules.callbacks import FiniteLoss
from lightning_modules.callbacks.finite import describe_batch


class Torn:
    """Clips whose speech is nan in one of them."""

    def __init__(self, clips, key):
        self.inner, self.key, self.clips = clips, key, clips.clips

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read_mel(self, clip):
        mel = self.inner.read_mel(clip).copy()
        if clip.key == self.key:
            mel[:] = float("nan")
        return mel


def test_nan_in_a_batch_ends_the_run_and_names_the_windows(numbered_clips, small_expert):
    source = numbered_clips()
    torn = Torn(source, next(clip.key for clip in source.clips if clip.split == "train"))
    module = SyncNetModule(net=small_expert)
    before = {key: value.clone() for key, value in module.net.state_dict().items() if "running" not in key}
    data = Data(torn, batch_size=64, drawing=False, windows_per_clip=2)
    with pytest.raises(TrainingError, match=rf"the speech of \d+ of \d+ windows is nan.*{torn.key} at \d+"):
        fit(module, data, callbacks=[FiniteLoss()])
    for key, value in before.items():
        if "num_batches" not in key:
            assert torch.equal(value, module.net.state_dict()[key]), key


def test_sound_windows_and_a_loss_that_is_nan(numbered_clips, small_generator):
    with torch.no_grad():
        next(small_generator.parameters()).fill_(float("nan"))
    module = QualityModule(net=small_generator, discriminator=PatchDiscriminator())
    with pytest.raises(TrainingError, match="the loss is nan or infinite, and the windows are sound"):
        fit(module, Data(numbered_clips()), callbacks=[FiniteLoss()])


def test_many_windows_are_counted():
    batch = {"clip_B": torch.arange(9), "frame_B": torch.arange(9), "mel_B1MS": torch.full((9, 1, 2, 2), torch.nan)}
    assert "9 of 9 windows" in describe_batch(batch, 3, [])
    assert "and 5 more" in describe_batch(batch, 3, [])
