import copy
import re

import lightning as L
import pytest
import torch
from small_runs import Data, fit

from anchor.errors import ConfigError
from anchor.models import PatchDiscriminator, SyncNet, digest, freeze, load_network
from anchor.models.lips import LipReader
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule, SyncNetModule
from lightning_modules.common import Ramp, judge_sync, set_aside
from lightning_modules.syncnet import negative_weights


def state(net):
    return {key: value.clone() for key, value in net.state_dict().items()}


def changed(net, before):
    return {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}


def test_each_stage_logs_what_its_docstring_promises(small_expert, small_generator, numbered_clips):
    def nets():
        return {"net": copy.deepcopy(small_generator), "expert": copy.deepcopy(small_expert)}

    modules = [
        SyncNetModule(net=copy.deepcopy(small_expert)),
        GeneratorModule(**nets(), sync_start_step=0, held_weight=1.0),
        FinetuneModule(**nets(), sync_weight=0.1),
        QualityModule(**nets(), discriminator=PatchDiscriminator(widths=(4, 8)), held_weight=1.0, shape_weight=1.0),
    ]
    set_aside(modules[2], "lips", LipReader(torch.zeros(24), torch.ones(24, 2)))
    for module in modules:
        trainer = fit(module, Data(numbered_clips(val=2)))
        promised = set(re.findall(r"``((?:train|val)/\w+)``", type(module).__doc__))
        assert promised == {key for key in trainer.logged_metrics | trainer.callback_metrics if "/" in key}


@pytest.mark.parametrize("stage", ["generator", "finetune", "quality"])
def test_the_expert_is_bit_identical_after_training(stage, small_expert, small_generator, numbered_clips):
    before = state(small_expert)
    module = {
        "generator": lambda: GeneratorModule(net=small_generator, expert=small_expert, sync_start_step=0),
        "finetune": lambda: FinetuneModule(net=small_generator, expert=small_expert, sync_weight=0.1),
        "quality": lambda: QualityModule(
            net=small_generator, discriminator=PatchDiscriminator(), expert=small_expert, shape_weight=0.1
        ),
    }[stage]()
    generator_before = state(small_generator)
    fit(module, Data(numbered_clips()))
    assert not changed(small_expert, before)
    assert not any(parameter.requires_grad for parameter in small_expert.parameters())
    assert not any(part.training for part in small_expert.modules())
    assert not any("expert" in key for key in module.state_dict())
    learnt = {key.split(".")[0] for key in changed(small_generator, generator_before)}
    everything = {"identity_encoder", "speech_encoder", "face_decoder"}
    assert learnt == ({"identity_encoder"} if stage == "finetune" else everything)


def test_finetuning_proves_that_what_is_frozen_has_not_changed(small_generator, small_expert, numbered_clips, capsys):
    before = digest(small_generator.speech_encoder, small_generator.face_decoder)
    whole = digest(small_generator)
    fit(FinetuneModule(net=small_generator, expert=small_expert), Data(numbered_clips()))
    assert digest(small_generator.speech_encoder, small_generator.face_decoder) == before
    assert digest(small_generator) != whole
    assert f"speech_encoder, face_decoder unchanged: sha256 {before}" in capsys.readouterr().err


def test_the_digest_sees_one_bit_of_a_weight_and_one_step_of_a_buffer(small_generator):
    before = digest(small_generator)
    buffer = next(b for name, b in small_generator.named_buffers() if name.endswith("num_batches_tracked"))
    buffer += 1
    assert digest(small_generator) != before
    buffer -= 1
    assert digest(small_generator) == before
    weight = next(small_generator.parameters())
    weight.data.view(-1).view(torch.int32)[0] ^= 1
    assert digest(small_generator) != before


def test_a_frozen_part_that_changes_all_the_same_ends_the_run(small_generator, numbered_clips):
    class Leaky(FinetuneModule):
        def on_train_batch_end(self, *args):
            self.net.face_decoder.last.bias.data += 1e-7

    with pytest.raises(AssertionError, match="frozen parts have changed"):
        fit(Leaky(net=small_generator), Data(numbered_clips()))


def test_the_landmark_term_reaches_the_generator_through_the_reader(small_generator, numbered_clips):
    plain, led = (copy.deepcopy(small_generator) for _ in range(2))
    for net, weight in ((plain, 0.0), (led, 1.0)):
        module = FinetuneModule(net=net, landmark_weight=weight)
        set_aside(module, "lips", LipReader(torch.zeros(24), torch.linspace(-1, 1, 24)[:, None]))
        torch.manual_seed(0)
        fit(module, Data(numbered_clips()))
    assert digest(plain) != digest(led)


def test_everything_learns_where_that_is_asked_for(small_generator, numbered_clips):
    before = state(small_generator)
    fit(FinetuneModule(net=small_generator, tune="all", jitter_weight=0), Data(numbered_clips()))
    learnt = {key.split(".")[0] for key in changed(small_generator, before)}
    assert learnt == {"identity_encoder", "speech_encoder", "face_decoder"}
    with pytest.raises(ConfigError, match="identity, all"):
        FinetuneModule(net=small_generator, tune="mouth")


def test_finetuning_leaves_frozen_parts_asleep_and_the_identity_encoder_awake(small_generator, numbered_clips):
    module = FinetuneModule(net=small_generator)
    fit(module, Data(numbered_clips()))
    module.train()
    assert small_generator.identity_encoder.training
    norms = [part for part in small_generator.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not any(part.training for part in norms)
    assert all(part.weight.requires_grad for part in small_generator.identity_encoder.modules() if part in norms)
    assert not any(part.training for part in small_generator.speech_encoder.modules())
    assert not any(part.training for part in small_generator.face_decoder.modules())


def test_what_is_frozen_stays_so_when_batch_norm_is_synchronised(small_generator):
    module = FinetuneModule(net=small_generator)
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)  # as the trainer does before it begins
    module.on_fit_start()
    module.train()
    norms = [part for part in module.net.modules() if isinstance(part, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(part.training for part in norms)


def test_the_sync_loss_reaches_the_generator_through_the_frozen_expert(small_expert):
    freeze(small_expert)
    mouths = torch.rand(2, 5, 3, 16, 32, requires_grad=True)
    judge_sync(small_expert, mouths, {"mel_B1MS": torch.zeros(2, 1, 80, 16), "weight_B": torch.ones(2)}).backward()
    assert mouths.grad.abs().sum() > 0


def test_the_discriminator_sees_no_speech_and_learns_in_its_own_turn_only(small_generator, numbered_clips):
    module = QualityModule(
        net=small_generator, discriminator=PatchDiscriminator(widths=(4, 8)), adversarial_start_step=0
    )
    seen = []
    module.discriminator.register_forward_hook(lambda net, inputs, output: seen.append(inputs))
    turns = []
    original = module.step_generator
    module.step_generator = lambda *a: (
        turns.append(state(module.discriminator)),
        original(*a),
        turns.append(state(module.discriminator)),
    )
    fit(module, Data(numbered_clips()), steps=2)
    assert all(len(inputs) == 1 and inputs[0].shape[1:] == (3, 16, 32) for inputs in seen)
    for before, after in zip(turns[::2], turns[1::2], strict=True):
        weights = [key for key in before if "_u" not in key and "_v" not in key]  # power iteration is no learning
        assert all(torch.equal(before[key], after[key]) for key in weights if "original" in key or "bias" in key)


def test_bce_learns_from_wrong_speech_and_asks_for_it(numbered_clips):
    positive = SyncNet(image_size=32, width=2, embedding_size=8, positive=True)
    fit(SyncNetModule(net=positive, loss="bce"), Data(numbered_clips(), negatives_per_window=1))
    with pytest.raises(ValueError, match=r"negatives_per_window=1"):
        fit(SyncNetModule(net=positive, loss="bce"), Data(numbered_clips()))


@pytest.mark.parametrize("stage", ["info_nce", "bce", "generator", "finetune", "quality"])
def test_validation_is_the_same_number_at_any_batch_size_and_worker_count(
    stage, small_expert, small_generator, numbered_clips
):
    module = {
        "info_nce": lambda: SyncNetModule(net=small_expert),
        "bce": lambda: SyncNetModule(net=SyncNet(image_size=32, width=2, positive=True), loss="bce"),
        "generator": lambda: GeneratorModule(net=small_generator, expert=small_expert),
        "finetune": lambda: FinetuneModule(net=small_generator, expert=small_expert),
        "quality": lambda: QualityModule(net=small_generator, discriminator=PatchDiscriminator(), expert=small_expert),
    }[stage]()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    source = numbered_clips(lengths=(30, 40, 21, 37, 52), val=3)
    scores = []
    for batch_size, num_workers in ((4, 0), (4, 0), (7, 0), (32, 2)):
        data = Data(source, val_batch_size=batch_size, num_workers=num_workers)
        scores.append(trainer.validate(module, datamodule=data, verbose=False)[0])
    assert scores[0] == scores[1]
    for other in scores[2:]:
        assert other == pytest.approx(scores[0], rel=1e-5, abs=1e-6)
    assert scores[0]["val/sync_loss"] > 0


@pytest.mark.parametrize("kind", ["syncnet", "generator", "finetune", "quality"])
def test_checkpoints_are_plain_and_rebuild_the_module(kind, tmp_path, small_expert, small_generator, numbered_clips):
    module = {
        "syncnet": lambda: SyncNetModule(net=small_expert),
        "generator": lambda: GeneratorModule(net=small_generator, expert=small_expert, sync_start_step=1),
        "finetune": lambda: FinetuneModule(net=small_generator),
        "quality": lambda: QualityModule(net=small_generator, discriminator=PatchDiscriminator(widths=(4, 8))),
    }[kind]()
    trainer = fit(module, Data(numbered_clips()))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = type(module).load_from_checkpoint(tmp_path / "a.ckpt")
    assert not changed(again.net, module.net.state_dict())
    loaded = load_network(tmp_path / "a.ckpt", "expert" if kind == "syncnet" else "generator")
    assert not changed(loaded, module.net.state_dict())
    if kind == "generator":
        assert int(again.sync_ramp.step) == 3
    if kind == "finetune":
        assert again.base is None, "it is in no checkpoint, and an untrained network is none"


def test_the_speech_encoder_can_start_from_the_experts(small_expert, small_generator):
    GeneratorModule(net=small_generator, expert=small_expert)
    assert not changed(small_generator.speech_encoder, small_expert.speech_encoder.state_dict())


def test_negatives_are_of_the_same_clip_and_apart():
    weights = negative_weights(torch.tensor([0, 0, 0, 1]), torch.tensor([10, 14, 15, 10]), foreign_weight=0.25)
    assert weights.tolist() == [[0, 0, 1, 0.25], [0, 0, 0, 0.25], [1, 0, 0, 0.25], [0.25, 0.25, 0.25, 0]]


def test_the_ramp_waits_climbs_and_stays():
    ramp, values = Ramp(top=0.5, start=2, length=2), []
    for _ in range(6):
        values.append(ramp.value())
        ramp.advance()
    assert values == [0, 0.25 * 0, 0.25, 0.5, 0.5, 0.5]
    twin = Ramp(top=0.5, start=2, length=2)
    twin.load_state_dict(ramp.state_dict())
    assert twin.value() == 0.5


def long_expert(**options):
    torch.manual_seed(0)
    return SyncNet(image_size=32, width=2, embedding_size=8, window_frames=16, norm="group", **options)


@pytest.mark.parametrize("loss", ["info_nce", "pairwise", "bce"])
def test_every_loss_teaches_what_it_says_and_nothing_else(loss, numbered_clips):
    net = long_expert(affine=True)
    before = state(net)
    data = Data(
        numbered_clips(), window_frames=16, windows_per_clip=2, neighbours=True, negatives_per_window=int(loss == "bce")
    )
    trainer = fit(SyncNetModule(net=net, loss=loss, near_weight=2.0, foreign_weight=0.1), data)
    learnt = changed(net, before)
    assert "log_scale" in learnt
    assert ("bias" in learnt) is (loss != "info_nce")
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


def test_a_temperature_that_is_given_stays(numbered_clips):
    net = long_expert()
    fit(SyncNetModule(net=net, temperature=0.05), Data(numbered_clips(), window_frames=16, windows_per_clip=2))
    assert float(net.log_scale.exp()) == pytest.approx(20, rel=1e-6)


def test_the_pairwise_loss_of_validation_knows_a_good_expert_from_a_bad_one(numbered_clips):
    module = SyncNetModule(net=long_expert(affine=True), loss="pairwise")
    face = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    module.net.bias.data.fill_(-5.0)
    good = module._pairs(face, face, 1.0) + module._pairs(face, -face, 0.0)
    bad = module._pairs(face, -face, 1.0) + module._pairs(face, face, 0.0)
    assert good < 0.02 < bad


@pytest.mark.parametrize(
    ("net", "options", "says"),
    [
        ({}, {"loss": "pairwise"}, "affine=true"),
        ({}, {"loss": "bce"}, "positive=true, or affine=true"),
        ({}, {"loss": "triplet"}, "info_nce, pairwise, bce"),
        ({}, {"near_weight": -1}, "near_weight=-1"),
        ({}, {"foreign_weight": "much"}, "foreign_weight=much"),
        ({}, {"temperature": 0}, "temperature=0 is no temperature"),
        ({"positive": True}, {"loss": "bce", "temperature": 0.1}, "leave it out, or set model.expert.affine"),
    ],
)
def test_an_expert_stage_that_cannot_be_is_one_sentence(net, options, says):
    with pytest.raises(ConfigError, match=says):
        SyncNetModule(net=SyncNet(image_size=32, width=2, **net), **options)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("stage", ["generator", "finetune", "quality"])
def test_a_long_expert_judges_long_windows(stage, affine, small_generator, numbered_clips):
    judge = long_expert(affine=affine)
    before = state(judge)
    module = {
        "generator": lambda: GeneratorModule(net=small_generator, expert=judge, sync_start_step=0),
        "finetune": lambda: FinetuneModule(net=small_generator, expert=judge, sync_weight=0.1),
        "quality": lambda: QualityModule(net=small_generator, discriminator=PatchDiscriminator(), expert=judge),
    }[stage]()
    trainer = fit(module, Data(numbered_clips(), window_frames=16, batch_size=2))
    assert torch.isfinite(trainer.callback_metrics["val/sync_loss"])
    assert not changed(judge, before)


def test_the_affine_judge_asks_for_mouths_that_it_takes_for_in_sync():
    judge = freeze(long_expert(affine=True))
    batch = {"mel_B1MS": torch.randn(2, 1, 80, 52), "weight_B": torch.ones(2)}
    mouths = torch.rand(2, 16, 3, 16, 32, requires_grad=True)
    loss = judge_sync(judge, mouths, batch)
    cosine = (judge.embed_mouths(mouths) * judge.embed_speech(batch["mel_B1MS"])).sum(1)
    by_hand = -torch.nn.functional.logsigmoid(judge.log_scale.exp() * cosine + judge.bias).mean()
    assert torch.allclose(loss, by_hand)
    loss.backward()
    assert mouths.grad.abs().sum() > 0


def test_the_speech_encoder_starts_from_a_longer_experts_but_for_the_last_layer(small_generator):
    judge = SyncNet(image_size=32, width=2, embedding_size=8, window_frames=16)
    before = state(small_generator.speech_encoder)
    GeneratorModule(net=small_generator, expert=judge)
    own, theirs = small_generator.speech_encoder.state_dict(), judge.speech_encoder.state_dict()
    same = {key for key in own if torch.equal(own[key], before[key])}
    assert all(torch.equal(own[key], theirs[key]) for key in own if key != "6.weight")
    assert "6.weight" in same
    wider = SyncNet(image_size=32, width=4, embedding_size=8, window_frames=16)
    after = state(small_generator.speech_encoder)
    GeneratorModule(net=small_generator, expert=wider)
    assert not changed(small_generator.speech_encoder, after)


def test_near_speech_can_count_more():
    weights = negative_weights(torch.zeros(3), torch.tensor([10, 25, 26]), foreign_weight=0.0, near_weight=3.0)
    assert weights.tolist() == [[0, 3, 1], [3, 0, 0], [1, 0, 0]]
