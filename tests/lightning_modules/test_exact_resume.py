"""A stage that was stopped and goes on is, window by window and weight by weight, the one that was not."""

import copy

import pytest
import torch
from small_runs import Data, fit

from anchor.models import PatchDiscriminator
from lightning_modules import QualityModule, SyncNetModule


@pytest.fixture
def deterministic():
    """As PyTorch can be: memory that nothing was written to is NaN, and whoever reads it is found out."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("stop", [2, 7, 13])  # within the first epoch, in the second, late in it
@pytest.mark.parametrize("kind", ["syncnet", "quality"])
def test_a_resumed_run_sees_the_windows_and_ends_with_the_weights_of_an_uninterrupted_one(
    kind, stop, tmp_path, small_expert, small_generator, numbered_clips, deterministic
):
    class Noted:
        def training_step(self, batch, batch_idx):
            seen.append([*zip(batch["clip_B"].tolist(), batch["frame_B"].tolist(), strict=True)])
            return super().training_step(batch, batch_idx)

    def module():
        torch.manual_seed(0)
        if kind == "syncnet":
            return type("M", (Noted, SyncNetModule), {})(net=copy.deepcopy(small_expert), warmup_steps=0)
        judges = {"discriminator": PatchDiscriminator(widths=(4, 8))}
        return type("M", (Noted, QualityModule), {})(net=copy.deepcopy(small_generator), **judges)

    def data():
        return Data(numbered_clips(lengths=(12, 14, 13, 20)), batch_size=4)

    seen = []
    whole = module()
    fit(whole, data(), steps=16)
    uninterrupted, seen = seen, []
    fit(module(), data(), steps=stop).save_checkpoint(tmp_path / "a.ckpt")
    rest = module()
    fit(rest, data(), steps=16, ckpt_path=tmp_path / "a.ckpt")
    assert seen == uninterrupted
    if kind == "quality":  # a constant learning rate; the expert's cosine depends on the planned length
        before = whole.net.state_dict()
        apart = {key: float((rest.net.state_dict()[key] - before[key]).abs().max()) for key in before}
        assert {key: value for key, value in apart.items() if value} == {}, torch.__config__.parallel_info()
