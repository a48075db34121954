"""Exports that were cut, mixed up or made by another version: one sentence each."""

import json

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from anchor.errors import CheckpointError
from anchor.export import export
from anchor.inference import load_generator
from anchor.models import load_network
from anchor.models.exported import hash_file


@pytest.fixture
def exported(small_generator, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_generator), out=tmp_path / "out")
    return tmp_path / "out"


def rewrite(folder, **changes):
    card = {**json.loads((folder / "card.json").read_text()), **changes}
    (folder / "card.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def sign(folder):
    rewrite(folder, sha256={"model.safetensors": hash_file(folder / "model.safetensors")})


def refuses(folder, words, kind="generator"):
    with pytest.raises(CheckpointError, match=words) as caught:
        load_network(folder, kind)
    assert "\n" not in str(caught.value)


def test_cut_weights_are_refused(exported):
    path = exported / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refuses(exported, "its SHA-256 is not the one on card.json")
    sign(exported)
    refuses(exported, "not a readable safetensors file")
    path.write_bytes(b"")
    sign(exported)
    refuses(exported, "not a readable safetensors file")


def test_a_flipped_bit_is_refused(exported):
    path = exported / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    refuses(exported / "model.safetensors", "damaged or of another export")


SMALL_EXPERT = {"name": "SyncNet", "kind": "generator", "options": {"width": 1, "embedding_size": 4, "image_size": 32}}


def test_weights_of_another_shape_are_refused(exported):
    path = exported / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "face_decoder.last.bias": torch.zeros(3)}, path)
    sign(exported)
    refuses(exported, "do not fit the network on its card.*face_decoder.last.bias")
    weights.pop("face_decoder.last.bias")
    save_file(weights, path)
    sign(exported)
    refuses(exported, "do not fit the network on its card.*Missing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "its format is version 2, and this anchor reads 1"),
        ({"format": "recipe"}, "not the card of an exported network"),
        ({"kind": "expert"}, "a generator is needed here, and this is the card of an expert"),
        ({"mel_config_hash": "0123456789ab"}, "taught on mels of configuration 0123456789ab"),
        ({"network": None}, "the card lacks network"),
        ({"network": {"name": "os.system", "kind": "generator", "options": {}}}, "fits no network"),
        ({"network": "LipGenerator"}, "the card lacks network"),
        ({"network": SMALL_EXPERT}, "says generator, and its network is"),
        ({"sha256": None}, "its SHA-256 is not the one"),
    ],
)
def test_a_card_that_does_not_fit_is_named(exported, changes, words):
    rewrite(exported, **changes)
    refuses(exported, words)


def test_a_card_or_weights_that_are_missing_are_named(exported, tmp_path):
    (exported / "card.json").write_text("{")
    refuses(exported, "it is no JSON")
    (exported / "card.json").unlink()
    refuses(exported, "weights need their card")
    refuses(exported / "model.safetensors", "weights need their card")
    (exported / "model.safetensors").unlink()
    refuses(exported, "no such file. Give a checkpoint, or a folder")
    refuses(tmp_path / "nowhere.safetensors", "no such file")


def test_an_export_of_another_kind_is_refused(exported, small_expert, save_checkpoint, tmp_path):
    export(checkpoint=save_checkpoint(small_expert, "expert.ckpt"), out=tmp_path / "expert")
    refuses(tmp_path / "expert", "a generator is needed here, and this is the card of an expert")
    refuses(exported, "an expert is needed here, and this is the card of a generator", kind="expert")
    with pytest.raises(CheckpointError, match="a generator is needed here"):
        load_generator(tmp_path / "expert" / "model.onnx")
    refuses(exported / "model.onnx", "an ONNX file only draws")


def test_damaged_onnx_files_are_named(exported, tmp_path):
    path = exported / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(CheckpointError, match="not a readable ONNX file"):
        load_generator(path)
    bare = onnx.load_from_string(whole)
    del bare.metadata_props[:]
    onnx.save(bare, str(path))
    with pytest.raises(CheckpointError, match="an ONNX file without a card"):
        load_generator(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_generator(tmp_path / "nowhere.onnx")
