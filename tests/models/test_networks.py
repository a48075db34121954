import pytest
import torch

from anchor.errors import CheckpointError, ConfigError
from anchor.models import (
    LipGenerator,
    PatchDiscriminator,
    SyncNet,
    build_network,
    describe,
    freeze,
    is_same,
    load_network,
    stack_faces,
    without_gradients,
)
from anchor.models.sizes import example_inputs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_size": 168, "widths": (8, 8, 8, 8, 8), "strides": (2, 2, 2, 3, 1)},
        {"image_size": 32, "widths": (4, 4, 4), "strides": (2, 2, 2)},
        {"widths": (4, 4, 4), "strides": (2, 2, 2)},  # the coarsest map is large enough to be cut, and is none to skip
    ],
)
def test_the_generator_draws_the_lower_half_at_each_size(options):
    net = LipGenerator(**options).eval()
    size = net.image_size
    faces, references = torch.rand(2, 3, size, size) * 2 - 1, torch.rand(2, 3, size, size) * 2 - 1
    mouth = net(stack_faces(faces, references), torch.zeros(2, 1, 80, 16))
    assert mouth.shape == (2, 3, size // 2, size)
    assert mouth.abs().max() <= 1
    assert {name for name, _ in net.named_children()} == {"identity_encoder", "speech_encoder", "face_decoder"}


def test_the_target_mouth_is_never_shown_to_the_generator():
    face, reference = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    other = face.clone()
    other[:, :, 16:] = 0.3
    assert torch.equal(stack_faces(face, reference), stack_faces(other, reference))
    assert torch.equal(stack_faces(face, reference)[:, :3, :16], face[:, :, :16])


def test_the_expert_takes_larger_mouths():
    expert = SyncNet(width=4).eval()
    mouths = torch.rand(2, 5, 3, 48, 96)
    larger = mouths.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(expert.embed_mouths(mouths), expert.embed_mouths(larger), atol=1e-5)
    assert torch.allclose(expert.embed_speech(torch.zeros(2, 1, 80, 16)).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("frames", [5, 16])
def test_an_expert_sees_and_hears_as_many_frames_as_it_is_told(frames):
    expert = SyncNet(image_size=32, width=2, embedding_size=24, window_frames=frames).eval()
    face, speech = expert(*example_inputs(expert, 3))
    assert face.shape == speech.shape == (3, 24)
    assert example_inputs(expert)[0].shape[1] == frames
    with pytest.raises(RuntimeError):
        expert.embed_mouths(torch.zeros(1, frames + 1, 3, 16, 32))


def test_group_norm_keeps_no_statistics_and_needs_no_batch():
    torch.manual_seed(0)
    expert = SyncNet(image_size=32, width=2, embedding_size=8, norm="group")
    assert not list(expert.buffers())
    mouths, mel = example_inputs(expert, 4)
    awake = expert.train().embed_mouths(mouths)
    assert torch.equal(awake, expert.eval().embed_mouths(mouths))
    alone = expert.embed_mouths(mouths[:1])
    assert torch.allclose(awake[:1], alone, atol=1e-4)
    batch = SyncNet(image_size=32, width=2, embedding_size=8).train()
    assert not torch.allclose(batch.embed_speech(mel)[:2], batch.embed_speech(mel[:2]), atol=1e-2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window_frames": 40}, "window_frames=40"),
        ({"window_frames": True}, "window_frames"),
        ({"window_frames": 4}, "window_frames=4"),
        ({"norm": "layer"}, "norm=layer"),
        ({"positive": True, "affine": True}, "Choose one"),
    ],
)
def test_an_expert_that_cannot_be_is_one_sentence(options, says):
    with pytest.raises(ConfigError, match=says):
        SyncNet(image_size=32, width=2, **options)


@pytest.mark.parametrize(
    "net",
    [
        SyncNet(width=2),
        SyncNet(width=2, window_frames=16, norm="group", affine=True),
        LipGenerator(widths=(4, 4, 4, 4, 4)),
        PatchDiscriminator(widths=(4, 8)),
    ],
)
def test_a_description_rebuilds_the_network(net):
    twin = build_network(describe(net))
    twin.load_state_dict(net.state_dict())
    assert type(twin) is type(net)
    assert describe(twin) == describe(net)


def test_an_option_that_a_description_leaves_out_has_its_default():
    """So a checkpoint of before an option was there is the same network."""
    net = describe(LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2)))
    newer = {**net, "options": {**net["options"], "num_references": 1}}
    assert is_same(net, newer)
    assert not is_same(net, {**newer, "options": {**newer["options"], "num_references": 3}})
    assert not is_same(net, {**net, "name": "ClassicGenerator"})
    assert not is_same(net, None)
    assert not is_same({"name": ["LipGenerator"], "options": 7}, net)


def test_frozen_survives_train_and_forward():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    parent = torch.nn.Sequential(freeze(net))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    parent.train()
    x = torch.randn(16, 4)
    assert torch.equal(parent(x), parent(x))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_a_judge_learns_nothing_but_lets_gradients_through():
    judge, x = torch.nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
    with without_gradients(judge):
        judge(x).sum().backward()
    assert x.grad is not None
    assert judge.weight.grad is None
    assert judge.weight.requires_grad


def _save(path, **hyper_parameters):
    net = SyncNet(width=2)
    torch.save(
        {
            "state_dict": {f"net.{k}": v for k, v in net.state_dict().items()},
            "hyper_parameters": hyper_parameters or {"net": describe(net)},
        },
        path,
    )
    return net


def test_a_network_comes_back_from_its_checkpoint(tmp_path):
    net = _save(tmp_path / "a.ckpt")
    loaded = load_network(tmp_path / "a.ckpt", "expert")
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert not loaded.training


def test_bad_checkpoints_are_named(tmp_path):
    _save(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="a generator is needed here, and this checkpoint holds expert"):
        load_network(tmp_path / "a.ckpt", "generator")
    with pytest.raises(CheckpointError, match=r"no such checkpoint.*a.ckpt"):
        load_network(tmp_path / "b.ckpt", "expert")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="cut off after 500 bytes"):
        load_network(tmp_path / "cut.ckpt", "expert")
    _save(tmp_path / "c.ckpt", net={"kind": "expert", "name": "os.system", "options": {}})
    with pytest.raises(CheckpointError, match="fits no network"):
        load_network(tmp_path / "c.ckpt", "expert")


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch evil-was-here",)


def test_an_evil_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": {}, "x": Evil()}, "evil.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_network("evil.ckpt", "expert")
    assert not (tmp_path / "evil-was-here").exists()
