"""Hostile networks: checkpoints, exports, ONNX and TorchScript that would run, unpack or reach for something."""

import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from evil import Evil, evil_pickle
from safetensors.torch import save_file
from torch import nn

from anchor.errors import CheckpointError, ConfigError
from anchor.models import read_checkpoint
from anchor.models.original_syncnet import load_original_syncnet
from anchor.models.perceptual import load_perceptual
from anchor.models.scripts import load_script
from anchor.models.tensors import load_tensors
from launch.build import build_module
from launch.checkpoints import AtomicCheckpointIO
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule, SyncNetModule

MODULES = [SyncNetModule, GeneratorModule, FinetuneModule, QualityModule]


@pytest.fixture(params=["zip", "pickle", "legacy", "tar"])
def evil(request, tmp_path, mark):
    """A checkpoint that runs code when it is unpickled, in each form that torch has known."""
    path = tmp_path / "evil.ckpt"
    content = {"state_dict": {"net.a": Evil(mark)}, "hyper_parameters": {"net": {"kind": "generator"}}}
    if request.param == "zip":
        torch.save(content, path)
    elif request.param == "legacy":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    elif request.param == "pickle":
        path.write_bytes(evil_pickle(mark))
    else:
        with tarfile.open(path, "w") as tar:
            for name in ("pickle", "storages", "tensors"):
                info, data = tarfile.TarInfo(name), evil_pickle(mark, 2)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_no_reader_of_weights_runs_them(evil, tmp_path):
    for read in (read_checkpoint, load_tensors, load_original_syncnet, load_perceptual):
        with pytest.raises(CheckpointError):
            read(evil)
    for module in MODULES:
        for asked in ({}, {"weights_only": False}):
            with pytest.raises(CheckpointError):
                module.load_from_checkpoint(evil, **asked)
    with pytest.raises((CheckpointError, pickle.UnpicklingError, RuntimeError)):
        AtomicCheckpointIO().load_checkpoint(evil, weights_only=False)
    for key in ("base", "expert"):
        with pytest.raises(CheckpointError):
            build_module({"_target_": "lightning_modules.FinetuneModule", key: str(evil)})


@pytest.mark.parametrize(
    "words",
    [
        ("export", "checkpoint={evil}", "out={out}"),
        ("infer", "checkpoint={evil}", "face={video}", "speech={video}", "out={out}.mp4"),
        ("avatar", "build", "checkpoint={evil}", "video={video}", "out={out}"),
        ("import", "weights", "source={evil}", "kind=generator", "out={out}"),
        ("evaluate", "checkpoint={evil}", "data={out}", "out={out}"),
    ],
    ids=lambda words: words[0],
)
def test_no_command_runs_them(evil, tmp_path, video, refused, words):
    said = refused(*(word.format(evil=evil, out=tmp_path / "out", video=video) for word in words))
    assert "evil.ckpt" in said or words[0] == "evaluate"  # which looks at its data first
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.ckpt", "file:///etc/passwd", "s3://bucket/a.ckpt"])
def test_a_checkpoint_comes_from_a_file_and_never_from_an_address(url):
    for module in MODULES:
        with pytest.raises(ConfigError, match="Fetch it, and give its path"):
            module.load_from_checkpoint(url, weights_only=False)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(url)


def test_an_archive_unpacks_to_what_it_is(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain:
        parts = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, data in parts.items():
            bomb.writestr(name, bytes(10**8) if name.endswith("data/0") else data)
    assert (tmp_path / "bomb.pth").stat().st_size < 10**6
    with pytest.raises(CheckpointError, match="parts are compressed"):
        load_tensors(tmp_path / "bomb.pth")
    data = bytearray((tmp_path / "plain.pth").read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the last entry of the list claims more than the file has
    data[place + 20 : place + 28] = (2**31).to_bytes(4, "little") * 2
    (tmp_path / "liar.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="parts claim"):
        load_tensors(tmp_path / "liar.pth")


class Writes(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor):
        torch.save(a, "it-ran")
        return (a - b).abs().mean()


class Maps(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor):
        return torch.from_file("/etc/passwd", False, 16, dtype=torch.uint8)


class Computes(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor):
        return (a - b).abs().flatten(1).mean(1)


class Restores(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = 1

    def forward(self, a: torch.Tensor, b: torch.Tensor):
        return a + self.a

    @torch.jit.export
    def __getstate__(self):
        return torch.zeros(1)

    @torch.jit.export
    def __setstate__(self, state: torch.Tensor):
        torch.save(state, "it-ran")
        self.a, self.training = 1, False


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Writes()

    def forward(self, a: torch.Tensor, b: torch.Tensor):
        for _ in range(2):
            if a.sum() > 0:
                a = self.inner(a, b)
        return a


def rewrite(path, old, new):
    """TorchScript's own text, changed by hand, as its exporter would never write it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            if name.endswith(".py"):
                assert old in data.decode()
                data = data.decode().replace(old, new, 1).encode()
            archive.writestr(name, data)


def test_a_torchscript_may_compute_and_nothing_else(tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "script.pt"
    for net, word in (
        (Writes(), "aten::save"), (Maps(), "aten::from_file"), (Calls(), "aten::save"), (Restores(), "__setstate__")
    ):  # fmt: skip
        torch.jit.script(net).save(str(path))
        mark.unlink(missing_ok=True)  # saving it calls what restores it
        with pytest.raises(CheckpointError, match=f"its code has {word}, which "):
            load_script(path)
    torch.jit.script(Computes()).save(str(path))
    assert load_script(path)(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [1, 1]
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match="no TorchScript"):
        load_script(path)


@pytest.mark.parametrize(
    "forged", ["t = torch\n    t.save(a, 'it-ran')", "ops.aten.save(a, 'it-ran')", "torch . save(a, 'it-ran')"]
)
def test_a_torchscript_is_judged_by_what_it_does_and_not_by_how_it_says_so(tmp_path, monkeypatch, mark, forged):
    """A search for words let all three through."""
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Computes()).save(str(tmp_path / "script.pt"))
    rewrite(tmp_path / "script.pt", "    return ", f"    {forged}\n    return ")
    torch.jit.load(tmp_path / "script.pt")(torch.zeros(2, 3), torch.ones(2, 3))
    assert mark.exists()  # it would
    mark.unlink()
    with pytest.raises(CheckpointError, match="aten::save"):
        load_script(tmp_path / "script.pt")


@pytest.mark.parametrize("place", ["../outside.bin", "{folder}/outside.bin", "link.bin"])
def test_an_onnx_file_reads_no_other_file(tmp_path, place):
    """Weights that an ONNX file says lie elsewhere, out of its folder."""
    from onnx import TensorProto, helper

    from anchor.models.onnx_generator import open_session

    (tmp_path / "in").mkdir()
    (tmp_path / "outside.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "outside.bin")
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", place.format(folder=tmp_path)), ("length", "16")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    ports = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "in" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="keeps weights in other files"):
        open_session(tmp_path / "in" / "model.onnx")


def test_a_checkpoint_describes_a_network_and_no_other_class(tmp_path):
    for name in ("os.system", "torch.load", "LipGenerator.__init__", ""):
        content = {"state_dict": {}, "hyper_parameters": {"net": {"kind": "generator", "name": name, "options": {}}}}
        torch.save(content, tmp_path / "a.ckpt")
        from anchor.models import load_network

        with pytest.raises(CheckpointError, match="fits no network of this version"):
            load_network(tmp_path / "a.ckpt", "generator")


def test_an_export_is_what_its_card_says(tmp_path, refused):
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    header = (10**12).to_bytes(8, "little")
    (tmp_path / "model.safetensors").write_bytes(header + b"{}")
    (tmp_path / "card.json").write_text("[" * 100_000)
    said = refused("export", f"checkpoint={tmp_path}", f"out={tmp_path / 'out'}")
    assert os.fspath(tmp_path) in said
