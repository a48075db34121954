"""A step from several batches is the step of their mean, whoever steps."""

import copy

import pytest
import torch
from small_runs import Data, fit
from torch import nn
from torch.nn.utils import parametrize

from anchor.models import PatchDiscriminator
from lightning_modules import GeneratorModule, QualityModule
from lightning_modules.callbacks import PartialSteps

LENGTHS = (12, 14, 13, 20)  # 27 windows: 7 batches of 4 an epoch


class Plain(torch.optim.SGD):
    """Gradients show in the weights as they are; betas are for Adam."""

    def __init__(self, parameters, lr, betas=None):
        super().__init__(parameters, lr=1.0)


class Still(nn.BatchNorm2d):
    """Batch norm that takes no notice of its batch: halves of a batch then add up to the whole exactly."""

    def forward(self, x):
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


def still(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = Still
    return net


def flat(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.fixture
def make(small_generator, small_expert):
    def make(kind, **options):
        torch.manual_seed(0)
        options = {"optimizer": Plain, "expert": copy.deepcopy(small_expert), "warmup_steps": 0, **options}
        net = still(copy.deepcopy(small_generator))
        if kind == "generator":
            return GeneratorModule(net=net, schedule="constant", **options)
        judge = PatchDiscriminator(widths=(4, 8))
        for layer in judge.modules():
            if parametrize.is_parametrized(layer):  # power iteration would move with every batch
                parametrize.remove_parametrizations(layer, "weight")
        # These clips stand still: the sign of a second difference is that of its rounding.
        return QualityModule(net=net, discriminator=still(judge), jitter_weight=0.0, **options)

    return make


def run(module, source, accumulate, batch_size, **options):
    if module.automatic_optimization:
        options = {"accumulate_grad_batches": accumulate, "callbacks": [PartialSteps()], **options}
    data = Data(source, batch_size=batch_size, augment=False)
    fit(module, data, val_check_interval=100, limit_val_batches=0, **options)
    return module


@pytest.mark.parametrize("kind", ["generator", "quality"])
def test_two_halves_make_the_step_of_the_whole(kind, make, numbered_clips):
    by_hand = [{"accumulate_grad_batches": n, "gradient_clip_val": 0.5} if kind == "quality" else {} for n in (1, 2)]
    clip = {} if kind == "quality" else {"gradient_clip_val": 0.5}
    source = numbered_clips(lengths=LENGTHS)
    start = make(kind)
    whole = run(make(kind, **by_hand[0]), source, 1, 8, steps=2, **clip)
    halves = run(make(kind, **by_hand[1]), source, 2, 4, steps=2, **clip)
    assert (flat(whole.net) - flat(start.net)).abs().max() > 1e-4
    torch.testing.assert_close(flat(halves.net), flat(whole.net), rtol=1e-4, atol=1e-6)
    if kind == "quality":  # the adversary speaks from step 50 on: until then the generator's step is exact too
        torch.testing.assert_close(
            flat(halves.discriminator), flat(whole.discriminator), rtol=1e-4, atol=5e-6
        )  # R1 squares


@pytest.mark.parametrize("kind", ["generator", "quality"])
def test_an_epochs_last_step_is_the_mean_of_what_is_left(kind, make, numbered_clips):
    source = numbered_clips(lengths=(9, 9, 9, 20))  # 15 windows: batches of 4, 4, 4 and 3 that count
    by_hand = {"accumulate_grad_batches": 3} if kind == "quality" else {}
    three = run(make(kind, **by_hand), source, 3, 4, steps=1)
    four = run(make(kind, **by_hand), source, 3, 4, steps=2)
    moved = flat(four.net) - flat(three.net)
    module = make(kind)
    module.load_state_dict(three.state_dict())
    data = Data(source, batch_size=4, augment=False)
    data.load_state_dict({"plan": 2, "seed": 0, "epoch": 0, "given": 12, "windows": 15, "group": 1, "data": ""})
    fit(module, data, steps=1, val_check_interval=100, limit_val_batches=0)
    torch.testing.assert_close(moved, flat(module.net) - flat(three.net), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["generator", "quality"])
def test_ramps_and_learning_rates_run_by_the_step(kind, make, numbered_clips):
    options = {"schedule": "linear", "accumulate_grad_batches": 2} if kind == "quality" else {"sync_start_step": 2}
    module = run(make(kind, **options), numbered_clips(lengths=LENGTHS), 2, 4, steps=6)  # 7 + 4 batches
    ramp = module.adversarial_ramp if kind == "quality" else module.sync_ramp
    assert int(ramp.step) == 6
    assert module.trainer.fit_loop.epoch_loop.total_batch_idx + 1 == 11
    for optimizer, scheduler in zip(module.trainer.optimizers, module.trainer.lr_scheduler_configs, strict=True):
        assert scheduler.scheduler.last_epoch == 6
        assert optimizer.param_groups[0]["lr"] == (pytest.approx(0.02) if kind == "quality" else 1.0)


def test_the_stage_by_hand_clips_by_the_configuration(make, numbered_clips):
    source, start = numbered_clips(lengths=LENGTHS), make("quality")
    for value, algorithm in ((1e-3, "norm"), (1e-4, "value"), (None, None)):
        module = make("quality", gradient_clip_val=value, gradient_clip_algorithm=algorithm)
        run(module, source, 1, 4, steps=1)
        moved = flat(module.net) - flat(start.net)
        if algorithm == "norm":
            assert moved.norm() == pytest.approx(1e-3, rel=1e-2)
        elif algorithm == "value":
            assert moved.abs().max() == pytest.approx(1e-4, rel=1e-2)
        else:
            assert moved.norm() > 0.1


def test_the_loss_scale_of_16_mixed_touches_no_step(make, numbered_clips):
    """The scaler is PyTorch's own, on the CPU and in float32; its scale changes with every step."""
    from lightning.pytorch.plugins import MixedPrecision

    def scaled(growth):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=1, growth_factor=growth)
        plugin = MixedPrecision("16-mixed", device="cpu", scaler=scaler)
        plugin.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)
        return plugin

    source = numbered_clips(lengths=LENGTHS)
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.01, "adversarial_start_step": 0}
    plain = run(make("quality", **options), source, 2, 4, steps=4)
    mixed = run(make("quality", **options), source, 2, 4, steps=4, plugins=[scaled(4.0)])
    torch.testing.assert_close(flat(mixed.net), flat(plain.net), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(flat(mixed.discriminator), flat(plain.discriminator), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0"),
        ({"gradient_clip_val": "x"}, "gradient_clip_val='x'"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val=-1.0"),
        ({"gradient_clip_algorithm": "mean"}, "Choose norm or value"),
        ({"schedule": "cosin"}, "module.schedule.name=cosin"),
        ({"schedule": {"name": "step", "gama": 1}}, "is no schedule"),
        ({"schedule": {"name": "step", "gamma": 2.0}}, "module.schedule.gamma=2.0"),
        ({"schedule": {"name": "step", "every_steps": 0}}, "every_steps=0"),
    ],
)
def test_numbers_that_cannot_be_are_answered(options, says, make):
    with pytest.raises(ValueError, match=says):
        make("quality", **options)
