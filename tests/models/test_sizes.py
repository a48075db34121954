"""Sizes are counted as they are defined."""

import pytest
import torch

from anchor.models import LipGenerator, PatchDiscriminator, SyncNet, freeze
from anchor.models.sizes import example_inputs, model_sizes, show_size


def test_the_arithmetic_of_a_convolution_is_two_per_multiply_add():
    net = PatchDiscriminator(widths=(4,))
    whole = model_sizes(net, image_size=32)[0]
    first, last = 3 * 4 * 16 * (8 * 16), 4 * 1 * 9 * (8 * 16)  # channels in and out, kernel, places
    assert whole.flop == 2 * (first + last)
    assert whole.parameters == 3 * 4 * 16 + 4 + 4 * 9 + 1


@pytest.mark.parametrize("net", [SyncNet(image_size=32, width=2, embedding_size=8), LipGenerator(widths=(4,) * 5)])
def test_the_parts_add_up_to_the_whole(net):
    whole, *parts = model_sizes(net)
    assert whole.flop == sum(part.flop for part in parts) > 0
    assert all(part.flop > 0 for part in parts)
    loose = sum(parameter.numel() for parameter in net.parameters(recurse=False))
    assert whole.parameters == sum(part.parameters for part in parts) + loose
    assert whole.disk_bytes == sum(v.numel() * v.element_size() for v in net.state_dict().values())


def test_counting_wakes_nothing_and_moves_no_statistics(small_generator):
    freeze(small_generator.speech_encoder)
    small_generator.train()
    small_generator.face_decoder.eval()
    before = {key: value.clone() for key, value in small_generator.state_dict().items()}
    modes = [module.training for module in small_generator.modules()]
    dice = torch.get_rng_state()
    model_sizes(small_generator)
    assert torch.equal(torch.get_rng_state(), dice)  # training goes on as if nobody had looked
    assert modes == [module.training for module in small_generator.modules()]
    assert all(torch.equal(value, before[key]) for key, value in small_generator.state_dict().items())


def test_inputs_are_in_range_and_repeat(small_generator):
    face, mel = example_inputs(small_generator, 2)
    assert face.shape == (2, 6, 32, 32)
    assert (face[:, :3, 16:] == 0).all()
    assert -4 <= mel.min() < -3
    assert 3 < mel.max() <= 4
    assert torch.equal(face, example_inputs(small_generator, 2)[0])
    assert not torch.equal(face, example_inputs(small_generator, 2, seed=1)[0])


def test_the_line_names_the_parts(small_generator):
    line = show_size(small_generator)
    assert line.startswith("LipGenerator 0.0")
    assert "GFLOP a frame" in line
    assert "identity_encoder" in line
