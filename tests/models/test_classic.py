"""The networks of the classic size: published counts, our interface, the classic convention inside."""

import pytest
import torch

from anchor.errors import ConfigError
from anchor.models import (
    ClassicDiscriminator,
    ClassicGenerator,
    ClassicSyncNet,
    build_network,
    describe,
    stack_faces,
)
from anchor.ops.images import lower_half


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return ClassicGenerator(width=4).eval()


@pytest.fixture(scope="module")
def expert():
    torch.manual_seed(0)
    return ClassicSyncNet(width=4).eval()


def faces(count, seed=0):
    dice = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 96, 96, generator=dice) * 2 - 1


def mels(count, seed=0):
    return torch.rand(count, 1, 80, 16, generator=torch.Generator().manual_seed(seed)) * 8 - 4


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_sizes_are_the_published_ones():
    with torch.device("meta"):  # no memory, no time
        drawn, judge, critic = ClassicGenerator(), ClassicSyncNet(), ClassicDiscriminator()
    assert {name: count(part) for name, part in drawn.named_children()} == {
        "identity_encoder": 8_171_056,
        "speech_encoder": 2_812_672,
        "face_decoder": 25_314_307,
    }
    assert count(judge) == 16_435_073  # one is ours: the temperature
    assert count(critic) == 14_113_793


def test_the_generator_draws_lower_halves_in_range(generator):
    mouths = generator(stack_faces(faces(2), faces(2, seed=1)), mels(2))
    assert mouths.shape == (2, 3, 48, 96)
    assert mouths.abs().max() <= 1
    assert mouths.std() > 0


def test_the_generator_looks_at_all_but_the_lower_half_of_its_target(generator):
    stack, mel = torch.cat([faces(1), faces(1, seed=1)], 1), mels(1)
    before = generator(stack, mel)

    def changes(**where):
        other = stack.clone()
        other[:, where["channels"], where["rows"]] *= -1
        return not torch.equal(generator(other, mel), before)

    upper, lower = slice(0, 48), slice(48, 96)
    assert not changes(channels=slice(0, 3), rows=lower)
    assert changes(channels=slice(0, 3), rows=upper)
    assert changes(channels=slice(3, 6), rows=upper)
    assert changes(channels=slice(3, 6), rows=lower)
    assert not torch.equal(generator(stack, mels(1, seed=1)), before)


def test_inside_stands_the_classic_convention(generator):
    heard, seen = [], []
    hooks = [
        generator.identity_encoder.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0])),
        generator.speech_encoder.register_forward_pre_hook(lambda net, inputs: heard.append(inputs[0])),
    ]
    target, reference, mel = faces(1), faces(1, seed=1), mels(1)
    generator(stack_faces(target, reference), mel)
    for hook in hooks:
        hook.remove()
    assert torch.equal(heard[0], mel)
    assert torch.allclose(seen[0][:, 3:], (reference + 1) / 2)
    assert torch.allclose(seen[0][:, :3, :48], (target[:, :, :48] + 1) / 2)
    assert (lower_half(seen[0][:, :3]) == 0).all()


def test_a_sample_does_not_depend_on_its_batch_mates(generator, expert):
    stack, mel = stack_faces(faces(3), faces(3, seed=1)), mels(3)
    assert torch.allclose(generator(stack, mel)[1:2], generator(stack[1:2], mel[1:2]), atol=1e-5)
    mouths = torch.stack([lower_half(faces(5, seed=i)) for i in range(3)])
    assert torch.allclose(expert(mouths, mel)[0][2:], expert(mouths[2:], mel[2:])[0], atol=1e-5)


def test_the_expert_answers_with_cosines_that_are_probabilities(expert):
    mouths = torch.stack([lower_half(faces(5, seed=i)) for i in range(2)])
    face, speech = expert(mouths, mels(2))
    assert face.shape == speech.shape == (2, 128)
    assert torch.allclose(face.norm(dim=1), torch.ones(2), atol=1e-5)
    cosine = face @ speech.T
    assert cosine.min() >= 0
    assert cosine.max() <= 1 + 1e-6
    assert expert.positive
    larger = mouths.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(expert.embed_mouths(larger), face, atol=1e-5)


@pytest.mark.parametrize("spectral", [False, True])
def test_the_discriminator_gives_one_raw_score(spectral):
    critic = ClassicDiscriminator(width=4, spectral=spectral).eval()
    critic.layers[-1].bias.data.fill_(-7)
    assert critic(lower_half(faces(2))).shape == (2, 1, 1, 1)
    assert critic(lower_half(faces(2))).max() < -1  # no sigmoid
    assert critic(torch.zeros(1, 3, 84, 168)).shape[:2] == (1, 1)


@pytest.mark.parametrize("net", [ClassicGenerator(width=4), ClassicSyncNet(width=4), ClassicDiscriminator(width=4)])
def test_a_description_rebuilds_it(net):
    twin = build_network(describe(net))
    twin.load_state_dict(net.state_dict())
    assert describe(twin) == describe(net)
    assert not any("keep" in key for key in net.state_dict())  # the mask is no weight


def test_half_precision_and_channels_last_draw_the_same(generator):
    stack, mel = stack_faces(faces(2), faces(2, seed=1)), mels(2)
    before = generator(stack, mel)
    with torch.autocast("cpu", torch.bfloat16):
        half = generator.to(memory_format=torch.channels_last)(stack, mel)
    generator.to(memory_format=torch.contiguous_format)
    assert half.dtype == torch.float32
    assert (half - before).abs().max() < 0.05  # bfloat16 keeps 8 bits


def test_what_the_layout_cannot_be_is_answered():
    with pytest.raises(ConfigError, match="laid out for 96 px, and got image_size=192"):
        ClassicGenerator(image_size=192)
    with pytest.raises(ConfigError, match="width=5 is no multiple of 4"):
        ClassicSyncNet(width=5)
