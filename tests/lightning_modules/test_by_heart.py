"""Against frames learnt by heart: features held steady, and mouths whose speech is held."""

import copy

import pytest
import torch
from small_runs import Data, fit

from anchor.models import PatchDiscriminator, digest
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule
from lightning_modules.common import draw_and_hold


def test_finetuning_learns_no_frame_by_heart(small_generator, numbered_clips):
    def drift(weight):
        torch.manual_seed(0)
        net = copy.deepcopy(small_generator)
        module = FinetuneModule(net=net, steady_weight=weight, warmup_steps=0, lr=1e-2)
        trainer = fit(module, Data(numbered_clips()), steps=12)
        assert digest(module.base) == digest(small_generator)
        assert not any("base" in key for key in module.state_dict())
        return float(trainer.callback_metrics["train/steady_loss"])

    assert drift(10.0) < 0.5 * drift(1e-9)


def test_a_held_window_hears_one_moment_of_another_and_is_drawn_beside_the_rest():
    class Sounds(torch.nn.Module):
        """A stand-in: paints what it hears."""

        def forward(self, face_N6HW, mel_N1MS):
            return mel_N1MS.mean((1, 2, 3))[:, None, None, None].expand(-1, 3, 4, 8)

    mels = torch.arange(25.0).reshape(5, 5, 1, 1, 1).expand(-1, -1, 1, 80, 16)
    faces = torch.zeros(5, 5, 3, 8, 8, dtype=torch.uint8)
    batch = {"faces_BTCHW": faces, "references_BCHW": faces[:, 0], "mels_BT1MS": mels}
    output, real, held = draw_and_hold(Sounds(), batch, True)
    assert output[..., 0, 0, 0].flatten().tolist() == list(range(25))
    assert held[..., 0, 0, 0].tolist() == [[22.0] * 5, [2.0] * 5]  # two of five, with the middle of the one before
    assert draw_and_hold(Sounds(), batch, False)[2] is None
    assert real.shape == output.shape == (5, 5, 3, 4, 8)


@pytest.mark.parametrize("stage", ["generator", "quality"])
def test_what_is_asked_with_held_speech_reaches_the_generator(stage, small_generator, numbered_clips):
    def learnt(weight):
        torch.manual_seed(0)
        options = {"net": copy.deepcopy(small_generator), "held_weight": weight, "warmup_steps": 0}
        if stage == "quality":
            options["discriminator"] = PatchDiscriminator(widths=(4, 8))
        fit({"generator": GeneratorModule, "quality": QualityModule}[stage](**options), Data(numbered_clips()))
        return digest(options["net"])

    assert learnt(30.0) != learnt(1e-12) == learnt(1e-12)


def test_what_the_expert_reads_off_drawn_and_real_mouths_reaches_the_generator(
    small_expert, small_generator, numbered_clips
):
    def learnt(weight):
        torch.manual_seed(0)
        net = copy.deepcopy(small_generator)
        judges = {"expert": copy.deepcopy(small_expert), "discriminator": PatchDiscriminator(widths=(4, 8))}
        trainer = fit(QualityModule(net=net, **judges, sync_weight=0, shape_weight=weight), Data(numbered_clips()))
        assert ("train/shape_loss" in trainer.callback_metrics) == (weight > 0)
        return digest(net)

    assert learnt(30.0) != learnt(0) == learnt(0)
