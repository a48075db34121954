"""`anchor export`: the files draw what the checkpoint draws, say what they are, and appear whole or not at all."""

import hashlib
import json

import numpy as np
import pytest
import torch

from anchor.errors import CheckpointError, ConfigError, DeviceError
from anchor.export import export
from anchor.export.parity import ONNX_BOUND, check_graph
from anchor.inference import draw_frames, load_generator
from anchor.models import (
    ClassicDiscriminator,
    ClassicGenerator,
    ClassicSyncNet,
    LipGenerator,
    PatchDiscriminator,
    SyncNet,
    load_network,
)
from anchor.models.folding import fold_norms
from anchor.models.onnx_generator import OnnxGenerator, open_session
from anchor.models.sizes import example_inputs
from anchor.ops.mel import MEL_PARAMETERS, mel_config_hash


def read_json(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_size": 168, "widths": (8, 8, 8, 8, 8), "strides": (2, 2, 2, 3, 1)},
        {"image_size": 32, "widths": (4, 6, 8), "strides": (2, 2, 2), "speech_width": 2, "embedding_size": 8},
        {"image_size": 32, "widths": (4, 6, 8), "strides": (2, 2, 2), "num_references": 3},
    ],
)
def test_both_files_draw_what_the_checkpoint_draws(options, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(LipGenerator(**options)), out=tmp_path / "out")
    net = load_network(tmp_path / "last.ckpt", "generator")
    inputs = example_inputs(net, 4, seed=9)
    with torch.inference_mode():
        drawn = net(*inputs)
        for path in ("out", "out/model.safetensors"):
            assert torch.equal(load_network(tmp_path / path, "generator")(*inputs), drawn)
        again = load_generator(tmp_path / "out", "cpu")(*inputs)
        assert torch.equal(again, load_generator(tmp_path / "last.ckpt", "cpu")(*inputs))
        graph = load_generator(tmp_path / "out" / "model.onnx", "cpu")
        assert graph.image_size == net.image_size
        assert graph.num_references == net.num_references
        assert (graph(*inputs) - drawn).abs().max() <= ONNX_BOUND
        assert (graph(*(tensor[:1] for tensor in inputs)) - drawn[:1]).abs().max() <= ONNX_BOUND
    assert drawn.std() > 0.05  # there was something to compare


@pytest.mark.parametrize("weights", ["auto", "ema", "raw"])
def test_averaged_weights_are_taken_by_choice(weights, save_checkpoint, tmp_path):
    net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    path = save_checkpoint(net)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["ema_state_dict"] = {"net.face_decoder.last.bias": torch.full_like(net.face_decoder.last.bias, 0.25)}
    torch.save(checkpoint, path)
    export(checkpoint=path, out=tmp_path / "out", onnx=False, weights=weights)
    raw = checkpoint["state_dict"]["net.face_decoder.last.bias"]
    expected = raw if weights == "raw" else checkpoint["ema_state_dict"]["net.face_decoder.last.bias"]
    for source, kind in ((tmp_path / "out", "auto"), (path, weights)):
        assert torch.equal(load_generator(source, "cpu", kind).face_decoder.last.bias, expected)
    assert read_json(tmp_path / "out" / "card.json")["source"]["weights"] == ("raw" if weights == "raw" else "ema")
    with pytest.raises(CheckpointError, match="one kind of weights"):
        load_network(tmp_path / "out", "generator", "ema")


def test_the_classic_generator_too(save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(ClassicGenerator(width=4)), out=tmp_path / "out")
    net = load_network(tmp_path / "last.ckpt", "generator")
    assert check_graph(net, tmp_path / "out" / "model.onnx", 96) <= ONNX_BOUND


@pytest.mark.parametrize("spectral", [False, True])
def test_judges_are_exported_as_well(spectral, small_expert, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_expert), out=tmp_path / "expert")
    assert read_json(tmp_path / "expert" / "card.json")["kind"] == "expert"
    session, _ = open_session(tmp_path / "expert" / "model.onnx")
    assert [port.name for port in session.get_inputs()] == ["mouths", "mel"]
    judge = load_network(tmp_path / "expert", "expert")
    assert judge.log_scale == small_expert.log_scale
    critic = ClassicDiscriminator(width=4, spectral=True) if spectral else PatchDiscriminator(widths=(4, 8))
    path = save_checkpoint(ClassicGenerator(width=4), discriminator=critic)
    export(checkpoint=path, out=tmp_path / "critic", kind="discriminator")
    card = read_json(tmp_path / "critic" / "card.json")
    assert card["inputs"][0]["shape"] == ["N", 3, 48, 96]
    export(checkpoint=path, out=tmp_path / "generator")
    assert read_json(tmp_path / "generator" / "card.json")["kind"] == "generator"


def test_folding_removes_every_norm_and_leaves_the_original(small_generator, save_checkpoint):
    for net in (ClassicGenerator(width=4), ClassicSyncNet(width=4), small_generator):
        net = load_network(save_checkpoint(net), net.description["kind"])
        before = {key: value.clone() for key, value in net.state_dict().items()}
        folded, inputs = fold_norms(net), example_inputs(net, 2)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
        with torch.inference_mode():
            for ours, theirs in zip(torch.cat([*net(*inputs)]), torch.cat([*folded(*inputs)]), strict=True):
                assert torch.allclose(ours, theirs, atol=1e-5)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_card_says_what_it_is_and_whence_it_came(small_generator, save_checkpoint, tmp_path, capsys):
    path = save_checkpoint(small_generator)
    export(checkpoint=path, out=tmp_path / "out")
    card = read_json(tmp_path / "out" / "card.json")
    assert card["network"] == small_generator.description
    assert card["parameters"] == sum(parameter.numel() for parameter in small_generator.parameters())
    assert (card["image_size"], card["fps"], card["stage"]) == (32, 25, "quality")
    assert card["mel_config_hash"] == mel_config_hash()
    assert card["audio"] == MEL_PARAMETERS
    assert [(port["name"], port["shape"]) for port in card["inputs"] + card["outputs"]] == [
        ("face", ["N", 6, 32, 32]),
        ("mel", ["N", 1, 80, 16]),
        ("mouth", ["N", 3, 16, 32]),
    ]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["source"] == {"file": "last.ckpt", "sha256": digest, "step": 40, "metrics": {"val/l1": 0.0625}}
    inside = OnnxGenerator(tmp_path / "out" / "model.onnx").card
    assert inside == {key: value for key, value in card.items() if key != "sha256"}
    said = capsys.readouterr().out
    assert "differs by at most" in said
    assert "LipGenerator" in said


def test_no_file_is_a_pickle(small_generator, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_generator), out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "model.onnx", "card.json"}
    for path in (tmp_path / "out").iterdir():
        data = path.read_bytes()
        assert not data.startswith((b"PK", b"\x80"))
        assert b"torch._utils" not in data


def test_the_onnx_file_draws_in_the_pipeline(small_generator, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_generator), out=tmp_path / "out")
    dice = np.random.default_rng(0)
    crops = dice.integers(0, 256, (5, 32, 32, 3), np.uint8)
    mel = dice.uniform(-4, 4, (40, 80)).astype(np.float32)
    drawn = [
        draw_frames(load_generator(tmp_path / "out" / name, "cpu"), crops, crops[::-1], mel, range(5), 2)
        for name in ("", "model.onnx")
    ]
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() <= 1  # rounding


def test_onnx_is_computed_on_the_cpu_with_torchs_threads(small_generator, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_generator), out=tmp_path / "out")
    graph = load_generator(tmp_path / "out" / "model.onnx")
    assert graph.session.get_session_options().intra_op_num_threads == torch.get_num_threads() == 1
    with pytest.raises(DeviceError, match="computed on the CPU"):
        load_generator(tmp_path / "out" / "model.onnx", "cuda")


def test_an_earlier_export_is_replaced_and_other_things_are_not(small_generator, save_checkpoint, tmp_path):
    path = save_checkpoint(small_generator)
    out = tmp_path / "out"
    export(checkpoint=path, out=out)
    export(checkpoint=path, out=out, onnx=False)
    assert {item.name for item in out.iterdir()} == {"model.safetensors", "card.json"}
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other things \(thesis.txt\)"):
        export(checkpoint=path, out=out)
    assert (out / "thesis.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="is a file"):
        export(checkpoint=path, out=path)
    with pytest.raises(ConfigError, match="no folder can be made there"):
        export(checkpoint=path, out=path / "under")


def test_a_failure_leaves_what_was_there(small_generator, save_checkpoint, tmp_path, monkeypatch):
    path = save_checkpoint(small_generator)
    export(checkpoint=path, out=tmp_path / "out")
    before = (tmp_path / "out" / "card.json").read_bytes()
    monkeypatch.setattr("anchor.export.parity.ONNX_BOUND", -1.0)
    for out in ("out", "new"):
        with pytest.raises(CheckpointError, match="nothing was written"):
            export(checkpoint=path, out=tmp_path / out)
    assert (tmp_path / "out" / "card.json").read_bytes() == before
    assert {item.name for item in tmp_path.iterdir()} == {"last.ckpt", "out"}


def test_a_diverged_network_is_not_exported(small_generator, save_checkpoint, tmp_path):
    small_generator.face_decoder.last.bias.data.fill_(torch.nan)
    path = save_checkpoint(small_generator)
    for onnx in (True, False):
        with pytest.raises(CheckpointError, match="diverged"):
            export(checkpoint=path, out=tmp_path / "out", onnx=onnx)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_named(small_generator, save_checkpoint, tmp_path):
    path = save_checkpoint(small_generator)
    with pytest.raises(CheckpointError, match="an expert is needed here, and this checkpoint holds generator"):
        export(checkpoint=path, out=tmp_path / "out", kind="expert")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(checkpoint=tmp_path / "nowhere.ckpt", out=tmp_path / "out")
    export(checkpoint=path, out=tmp_path / "out")
    with pytest.raises(CheckpointError, match="is an export already"):
        export(checkpoint=tmp_path / "out", out=tmp_path / "again")


def test_a_long_expert_with_group_norm_is_exported_with_its_window(save_checkpoint, tmp_path):
    net = SyncNet(image_size=32, width=2, embedding_size=8, window_frames=16, norm="group", affine=True)
    export(checkpoint=save_checkpoint(net), out=tmp_path / "out")
    card = read_json(tmp_path / "out" / "card.json")
    assert (card["window_frames"], card["window_mel_steps"]) == (16, 52)
    assert [port["shape"] for port in card["inputs"]] == [["N", 16, 3, 16, 32], ["N", 1, 80, 52]]
    again = load_network(tmp_path / "out", "expert")
    assert again.window_frames == 16
    assert again.bias == net.bias
    assert check_graph(again, tmp_path / "out" / "model.onnx", 32) <= ONNX_BOUND
