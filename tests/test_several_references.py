"""A generator that is shown three pictures of the person: taught, drawing, scored; its avatar is in tests/avatars."""

import numpy as np
import pytest
import torch
from small_runs import Data, fit

from anchor.evaluation.clips import ClipShelf, choose_clips, pair_up
from anchor.evaluation.drawing import draw_pair
from anchor.faces import FaceTrack
from anchor.inference import Dubber
from anchor.inference.store import FrameStore
from anchor.models import LipGenerator
from anchor.ops.images import lower_half
from anchor.synth.source import SyntheticSource
from lightning_modules import GeneratorModule


@pytest.fixture
def net():
    torch.manual_seed(1)
    options = {"image_size": 32, "widths": (4, 6, 8), "strides": (2, 2, 2), "speech_width": 2, "embedding_size": 8}
    return LipGenerator(**options, num_references=3).eval()


def record(net):
    """The face stacks that ``net`` is shown from now on."""
    seen = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return seen


def test_the_first_reference_shows_through_the_gate_and_every_one_is_looked_at(net):
    torch.nn.init.constant_(net.face_decoder.last.bias[12:], -60.0)  # shut
    torch.nn.init.zeros_(net.face_decoder.last.weight)
    stack = torch.rand(2, 12, 32, 32) * 2 - 1
    mel = torch.zeros(2, 1, 80, 16)
    assert torch.allclose(net(stack, mel), lower_half(stack[:, 3:6]))
    features = net.identity_encoder(stack)[0]
    for place in range(3, 12, 3):
        other = stack.clone()
        other[:, place : place + 3] = 0
        assert not torch.allclose(net.identity_encoder(other)[0], features)


def test_a_stage_teaches_it(net, numbered_clips):
    before = net.identity_encoder[0][0].weight.detach().clone()
    fit(GeneratorModule(net=net.train()), Data(numbered_clips(val=2), references=3))
    changed = (net.identity_encoder[0][0].weight != before).flatten(2).any(2).any(0)
    assert changed.all()  # of all twelve channels


def test_infer_and_evaluate_show_it_three_different_moments_the_best_first(net):
    pictures = [np.full((64, 64, 3), 40 + 2 * number, np.uint8) for number in range(60)]
    store = FrameStore()
    for shown in pictures:
        store.append(shown)
    track = FaceTrack(np.tile(np.float32([8, 8, 56, 56]), (60, 1)), np.zeros(60, np.int32), 1.0)
    seen = record(net)
    list(Dubber(net, store, track).frames(np.zeros((200, 80), np.float32), 20))
    stacks = torch.cat(seen)
    assert stacks.shape == (20, 12, 32, 32)
    assert all(len(set(row.tolist())) == 3 for row in stacks[:, 3::3, 16, 16])
    source = SyntheticSource(speakers=4, clips=1, seconds=2.0, image_size=32, seed=3, val_speakers=2)
    seen.clear()
    clips = choose_clips(source, "val", 2, 0)
    drawn = draw_pair(net, ClipShelf(source, 32, 500), pair_up(clips, 500)[0], reference="nearest")
    first = torch.from_numpy(drawn.face.faces_TSSC[drawn.references_T[:5]]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(torch.cat(seen)[:5, 3:6], first, atol=1e-6)
