"""The GAN stage: its losses by law, its balance, its penalty, and the watch over it."""

import copy
import dataclasses
import types

import pytest
import torch
from small_runs import Data, fit
from torch import nn

from anchor.errors import CheckpointError, ConfigError
from anchor.models import ClassicDiscriminator, PatchDiscriminator, load_network
from anchor.models.perceptual import load_perceptual
from anchor.models.spectral import SpectralNorm
from lightning_modules import QualityModule
from lightning_modules.adversary import Judges
from lightning_modules.balance import Balance
from lightning_modules.callbacks import GanWatch, WeightAverage
from lightning_modules.pictures import Reconstruction


def judge(**options):
    torch.manual_seed(2)
    return PatchDiscriminator(widths=(4, 8), **options)


def test_spectral_norm_is_pytorchs_and_its_state_has_the_same_names():
    torch.manual_seed(0)
    theirs = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 8, 3))
    ours = nn.Conv2d(6, 8, 3)
    nn.utils.parametrize.register_parametrization(ours, "weight", SpectralNorm(ours.weight))
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.weight, theirs.weight)
    for _ in range(50):
        ours(torch.zeros(1, 6, 3, 3))
    assert torch.linalg.matrix_norm(ours.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=1e-3)


def test_spectral_norm_needs_multiplications_and_sums_alone():
    from torch.profiler import profile

    net = judge()
    with profile() as seen:
        net(torch.rand(2, 3, 16, 32)).sum().backward()
    called = {event.key for event in seen.key_averages()}
    assert "aten::mul" in called
    assert not called & {"aten::vdot", "aten::dot", "aten::mv", "aten::linalg_svd"}


def test_a_penalty_between_two_looks_has_a_gradient():
    """Power iteration moves its vectors in place; the graph of an earlier look must not notice."""
    net = judge()
    first = net(torch.rand(2, 3, 16, 32)).mean()
    penalty = Judges(net, None, "hinge").gradient_penalty(torch.rand(1, 2, 3, 16, 32), torch.ones(1))
    (first + penalty).backward()
    weight = net.layers[0].parametrizations.weight.original
    assert weight.grad.abs().sum() > 0


def test_r1_is_the_squared_slope_of_a_linear_score():
    class Linear(nn.Module):
        def forward(self, x):
            return (3 * x).sum((1, 2, 3), keepdim=True)

    penalty = Judges(Linear(), None, "hinge").gradient_penalty(torch.rand(2, 5, 3, 16, 32), torch.ones(2))
    assert float(penalty) == pytest.approx(9 * 3 * 16 * 32)
    half = Judges(Linear(), None, "hinge").gradient_penalty(torch.rand(2, 5, 3, 16, 32), torch.tensor([1.0, 0.0]))
    assert float(half) == pytest.approx(9 * 3 * 16 * 32 / 2)


def test_r1_survives_half_precision():
    net, real, ones = judge().eval(), torch.rand(1, 5, 3, 16, 32), torch.ones(1)
    plain = Judges(net, None, "hinge").gradient_penalty(real, ones)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = Judges(net, None, "hinge").gradient_penalty(real, ones)
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-5)


def test_r1_comes_every_few_steps(small_generator, numbered_clips, monkeypatch):
    steps = []
    whole = Judges.gradient_penalty
    monkeypatch.setattr(
        Judges,
        "gradient_penalty",
        lambda self, *a: (steps.append(int(module.adversarial_ramp.step)), whole(self, *a))[1],
    )
    module = QualityModule(net=small_generator, discriminator=judge(), r1_every=3)
    fit(module, Data(numbered_clips()), steps=7)
    assert steps == [0, 3, 6]


@pytest.mark.parametrize("adversarial", ["hinge", "lsgan"])
@pytest.mark.parametrize("mouth", [False, True])
def test_every_kind_learns_and_the_mouth_has_its_own_eye(adversarial, mouth, small_generator, numbered_clips):
    options = {"mouth_discriminator": judge()} if mouth else {}
    module = QualityModule(
        net=small_generator, discriminator=judge(), adversarial=adversarial, adversarial_start_step=0, **options
    )
    before = copy.deepcopy(module)
    seen = []
    for net in module.judges.nets:
        net.layers[0].register_forward_hook(lambda net, inputs, output: seen.append(tuple(inputs[0].shape[2:])))
    fit(module, Data(numbered_clips()), steps=2)
    assert set(seen) == ({(16, 32), (10, 16)} if mouth else {(16, 32)})  # rows 19 to 29, columns 8 to 24
    for one, other in zip(module.judges.nets, before.judges.nets, strict=True):
        moved = [not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
        assert all(moved)


def test_the_mouths_eye_is_in_the_checkpoint(small_generator, numbered_clips, tmp_path):
    module = QualityModule(net=small_generator, discriminator=judge(), mouth_discriminator=judge())
    fit(module, Data(numbered_clips())).save_checkpoint(tmp_path / "a.ckpt")
    again = QualityModule.load_from_checkpoint(tmp_path / "a.ckpt")
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert any(name.startswith("mouth_discriminator.") for name in again.state_dict())
    load_network(tmp_path / "a.ckpt", "discriminator")


def test_the_adversary_gets_the_share_that_it_was_given(small_generator, numbered_clips):
    """Measured at the picture, its gradient is ``adversarial_weight`` times the reconstruction's."""
    module = QualityModule(
        net=small_generator, discriminator=judge(), adversarial_weight=0.3, adversarial_start_step=0,
        adversarial_ramp_steps=0,
    )  # fmt: skip
    module.balance.every = 1
    trainer = fit(module, Data(numbered_clips()), steps=3)
    assert float(trainer.callback_metrics["train/adversarial_share"]) == pytest.approx(0.3, rel=1e-4)
    raw = QualityModule(net=small_generator, discriminator=judge(), adversarial_start_step=0, balance=False)
    fit(raw, Data(numbered_clips()), steps=2)
    assert raw.balance.factor() == 1.0
    assert int(raw.balance.seen) == 1  # measured for whoever watches


def test_a_measurement_that_overflows_changes_nothing():
    balance = Balance(True)
    module = types.SimpleNamespace(
        trainer=types.SimpleNamespace(strategy=types.SimpleNamespace(reduce=lambda x, **_: x))
    )
    output = torch.ones(2, 3)
    balance.measure(module, output, lambda x: (3 * x).sum(), lambda x: x.sum())
    assert balance.factor() == pytest.approx(3)
    balance.measure(module, output, lambda x: (3 * x).sum(), lambda x: x.sum() * float("nan"))
    balance.measure(module, output, lambda x: (0 * x).sum(), lambda x: x.sum())
    assert balance.factor() == pytest.approx(3)


def test_averaged_weights_and_two_optimizers_agree(small_generator, numbered_clips):
    module, ema = (
        QualityModule(net=small_generator, discriminator=judge(), mouth_discriminator=judge()),
        WeightAverage(),
    )
    fit(module, Data(numbered_clips()), steps=5, callbacks=[ema])
    assert ema.updates == 5  # once a step, though two optimizers stepped
    assert not any("discriminator" in name for name in ema.average)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"adversarial": "wgan"}, "adversarial=wgan is no choice. Choose one of hinge, lsgan"),
        ({"detail": "x"}, "edges"),
    ],
)
def test_choices_that_are_none_are_answered(options, says, small_generator):
    with pytest.raises(ConfigError, match=says):
        QualityModule(net=small_generator, discriminator=judge(), **options)


def test_activations_come_with_the_score():
    for net in (judge(spectral=False), ClassicDiscriminator(width=4)):
        picture = torch.rand(2, 3, 48, 96)
        score, seen = net.eval().look(picture)
        assert torch.equal(score, net(picture))
        assert len(seen) == sum(isinstance(layer, nn.LeakyReLU) for layer in net.layers)


# Perceptual networks by path


def vgg(norm):
    def block(a, b):
        return [nn.Conv2d(a, b, 3, padding=1), *([nn.BatchNorm2d(b)] if norm else []), nn.ReLU()]

    torch.manual_seed(3)
    features = nn.Sequential(*block(3, 4), *block(4, 4), nn.MaxPool2d(2), *block(4, 8), nn.MaxPool2d(2))
    return nn.ModuleDict({"features": features, "classifier": nn.Linear(8, 2)}).eval()


@pytest.mark.parametrize("norm", [False, True])
def test_a_network_of_vggs_layout_is_rebuilt_from_its_names(norm, tmp_path):
    net = vgg(norm)
    torch.save(net.state_dict(), tmp_path / "vgg.pt")
    again = load_perceptual(tmp_path / "vgg.pt")
    picture = torch.rand(2, 3, 16, 32) * 2 - 1
    scaled = ((picture + 1) / 2 - again.mean_C11) / again.std_C11
    torch.testing.assert_close(again.layers(scaled), net["features"][:-1](scaled))  # what follows a last ReLU is left
    assert [one.shape[1] for one in again(picture)[:2]] == [4, 8]
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_perceptual_network_teaches_the_generator(tmp_path, small_generator, numbered_clips):
    torch.save(vgg(False).state_dict(), tmp_path / "vgg.pt")
    seer = load_perceptual(tmp_path / "vgg.pt")
    module = QualityModule(net=small_generator, discriminator=judge(), perceptual=seer, perceptual_weight=1.0)
    output = torch.zeros(1, 5, 3, 16, 32, requires_grad=True)
    real, ones = torch.rand(1, 5, 3, 16, 32), torch.ones(1)
    with_it, _ = module.reconstruction.loss(output, real, module.mouth_weight_hW, ones)
    module.reconstruction = dataclasses.replace(module.reconstruction, perceptual=None)
    without, _ = module.reconstruction.loss(output, real, module.mouth_weight_hW, ones)
    assert float(with_it) > float(without)
    assert not any("perceptual" in name for name in module.state_dict())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        (b"no archive", "holds no plain weights"),
        ({"layer.weight": torch.zeros(2)}, "laid out as torchvision's VGG begins with features.0.weight"),
        ({"features.0.weight": torch.zeros(4, 3, 3, 3)}, "features.0 is none of a VGG"),
    ],
)
def test_a_file_that_is_no_such_network_is_answered(content, says, tmp_path):
    path = tmp_path / "net.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=says):
        load_perceptual(path)


# The watch


HEALTHY = {"d_real": 0.4, "d_fake": -0.3, "d_accuracy": 0.75, "d_loss": 1.4, "adversarial_share": 0.5}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, set()),
        ({"d_accuracy": 0.995, "d_real": 2.5, "d_fake": -2.8, "d_loss": 0.01}, {"won"}),
        ({"d_accuracy": 0.5, "d_real": 0.01, "d_fake": 0.0, "d_loss": 2.0}, {"blind"}),
        ({"d_real": 45.0}, {"runaway"}),
        ({"d_fake": float("nan")}, {"runaway"}),
        ({"adversarial_share": 8.0}, {"loud"}),
    ],
)
def test_the_watch_knows_each_collapse_by_its_numbers(change, found):
    assert GanWatch().diagnose({**HEALTHY, **change}) == found


class Made(QualityModule):
    """Whose discriminator's numbers and jitter are made up."""

    script: dict = {}  # noqa: RUF012

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.log_dict({f"train/{name}": value for name, value in self.script["train"](batch_idx).items()})

    def validation_step(self, batch, batch_idx):
        self.log("val/jitter_ratio", self.script["jitter"])

    def log(self, name, value, **options):  # the real numbers stay out of the way
        if name in self.script.get("own", ()) or name.removeprefix("train/") in HEALTHY:
            return None
        return super().log(name, value, **options)


def test_a_collapse_is_told_once_with_what_to_do_and_so_is_its_end(small_generator, numbered_clips, capsys):
    won = {**HEALTHY, "d_accuracy": 1.0, "d_real": 3.0, "d_fake": -3.0}
    module = Made(net=small_generator, discriminator=judge())
    module.log_dict = lambda scores, **_: [QualityModule.log(module, k, v) for k, v in scores.items()]
    step = iter(range(1000))
    module.script = {"train": lambda i: won if next(step) < 12 else HEALTHY, "jitter": 1.6}
    watch = GanWatch(window=5)
    trainer = fit(module, Data(numbered_clips()), steps=24, callbacks=[watch])
    said = capsys.readouterr().err
    assert said.count("the discriminator tells every picture apart") == 1
    assert "lower module.discriminator_lr or raise module.r1_weight" in said
    assert said.count("in balance again") == 1
    assert said.count("the mouth trembles (val/jitter_ratio 1.60") == 1
    assert float(trainer.callback_metrics["train/gan_collapse"]) == 0
    assert float(trainer.callback_metrics["val/is_trembling"]) == 1
    twin = GanWatch()
    twin.load_state_dict(watch.state_dict())
    assert twin.trembling == 1


def test_a_stiff_mouth_is_told_and_a_healthy_stage_says_nothing(small_generator, numbered_clips, capsys):
    for jitter, says in ((0.5, "the mouth is stiff (val/jitter_ratio 0.50"), (1.0, "")):
        module = Made(net=copy.deepcopy(small_generator), discriminator=judge())
        module.log_dict = lambda scores, m=module, **_: [QualityModule.log(m, k, v) for k, v in scores.items()]
        module.script = {"train": lambda i: HEALTHY, "jitter": jitter}
        fit(module, Data(numbered_clips()), steps=8, callbacks=[GanWatch(window=3)])
        said = capsys.readouterr().err
        assert says in said
        assert said.count("anchor train") == bool(says)


def test_a_stiff_mouth_costs_more_than_one_that_moves_as_much():
    torch.manual_seed(0)
    real = torch.rand(2, 5, 3, 24, 48) * 2 - 1
    reconstruction = Reconstruction("edges", 0.0, 1, 0.0, 1.0, None, 0.0)
    weights = torch.ones(24, 48), torch.ones(2)

    def jitter_alone(output):
        loss, l1 = reconstruction.loss(output, real, *weights)
        return float(loss - l1)

    still, moves = real[:, :1].expand_as(real), real.flip(1)
    assert jitter_alone(real) == pytest.approx(0, abs=1e-6)
    assert jitter_alone(moves) == pytest.approx(0, abs=1e-6)
    assert jitter_alone(still) > 1


def test_the_discriminators_judge_both_kinds_as_they_would_alone():
    net = judge(spectral=False)
    real, fake = torch.rand(2, 1, 5, 3, 16, 32)
    judged = Judges(net, None, "hinge").judge(fake, real, torch.ones(1))
    for score, pictures in ((judged.real, real), (judged.fake, fake)):
        torch.testing.assert_close(score, net(pictures.flatten(0, 1)).mean())
