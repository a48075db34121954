"""`anchor check` names what is missing and what mends it, and counts what networks cost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from anchor.__main__ import main
from anchor.errors import ConfigError
from launch import check as check_module
from launch.check import check
from launch.packages import Finding, list_packages, look_at_family, look_at_package
from launch.sizes import build_preset, list_presets

BLOCKED = """
import sys
for name in ("decord", "webdataset", "lightning", "wandb", "insightface", "torchvision"):
    sys.modules[name] = None
from anchor.__main__ import main
sys.exit(main(["check"]))
"""


def test_missing_packages_are_named_with_their_fix_and_a_status(tmp_path):
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    for name in ("decord", "webdataset", "lightning", "wandb", "insightface", "torchvision"):
        assert re.search(rf'^{name} +missing +pip install "{name}', done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^torch +ok", done.stdout, re.MULTILINE)
    assert "decord" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(tmp_path.iterdir())  # looking writes nothing


def test_every_package_that_we_ask_for_is_looked_at(monkeypatch):
    lines = ["torch>=2.4", "some-new.thing (<2,>=1.2)", 'pytest; extra == "dev"', 'old>=1; python_version < "3"']
    monkeypatch.setattr("launch.packages.requires", lambda name: lines)
    assert {"torch", "decord", "some-new.thing"} <= set(list_packages())
    assert not {"pytest", "old"} & set(list_packages())
    monkeypatch.setitem(sys.modules, "some_new_thing", None)
    assert look_at_package("some-new.thing") == ("some-new.thing", "missing", 'pip install "some-new.thing>=1.2,<2"')


@pytest.mark.parametrize(
    ("name", "found", "says"),
    [
        ("lightning", "2.6.2", r"2.6.2 is a compromised release: pip install \"lightning>=2.6.4,<2.7\""),
        ("lightning", "2.6.3", "compromised"),
        ("lightning", "2.5.0", "2.5.0 does not do: pip install"),
        ("opencv-python", "5.0.1", "5.0.1 does not do, for 5.0 dropped the Haar cascades"),
    ],
)
def test_versions_that_do_not_do_are_named(name, found, says, monkeypatch):
    monkeypatch.setattr("launch.packages.version", lambda package: found)
    finding = look_at_package(name)
    assert finding.state == "missing"
    assert re.search(says, finding.detail)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        (
            "opencv-python",
            ImportError("libGL.so.1: cannot open shared object file: No such file or directory"),
            "libGL.so.1 of the system is missing: apt-get install -y libgl1 libglib2.0-0 libxcb1",
        ),
        ("torchvision", RuntimeError("operator torchvision::nms does not exist"), "does not load beside torch"),
        ("decord", OSError("bad ELF"), r"does not load \(OSError: bad ELF\): pip install .decord.* --force-reinstall"),
        ("av", ModuleNotFoundError("No module named 'x'", name="x"), "it lacks x; pip install"),
    ],
)
def test_packages_that_do_not_load_are_named_with_their_fix(name, error, says, monkeypatch):
    def fail(module):
        raise error

    monkeypatch.setattr("launch.packages.import_module", fail)
    finding = look_at_package(name)
    assert finding.state == "missing"
    assert re.search(says, finding.detail)


@pytest.mark.parametrize(
    ("versions", "state", "says"),
    [
        (("2.11.0", "0.26.0", "2.11.0"), "ok", "of one release"),
        (("2.4.1+cpu", "0.19.1+cpu", "2.4.1+cpu"), "ok", "of one release"),
        (("2.11.0", "0.25.0", "2.11.0"), "weak", '"torchvision==0.26.*"'),
        (("2.15.0", "0.30.0", "2.11.0"), "weak", "not of one release"),
        (("2.11.0+cpu", "0.26.0", "2.11.0"), "weak", "different builds"),
    ],
)
def test_torch_and_its_sisters_are_of_one_release(versions, state, says, monkeypatch):
    found = dict(zip(("torch", "torchvision", "torchaudio"), versions, strict=True))
    monkeypatch.setattr("launch.packages.version", lambda name: found[name])
    finding = look_at_family()
    assert finding.state == state
    assert says in finding.detail


def test_folders_that_cannot_be_written_or_are_full_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert check_module._folder("runs", tmp_path / "a" / "b", "fix").state == "ok"
    finding = check_module._folder("runs", tmp_path / "file" / "runs", "give run_dir=")
    assert finding.state == "weak"
    assert finding.detail.endswith("cannot be written: give run_dir=")
    monkeypatch.setattr(check_module, "MIN_FREE_GB", 1e9)
    assert "GB free, and a run may need" in check_module._folder("runs", tmp_path, "fix").detail


def test_what_breaks_while_it_is_looked_at_is_in_the_table(monkeypatch, capsys):
    monkeypatch.setattr(check_module, "list_packages", list)
    monkeypatch.setattr(check_module, "look_at_family", lambda: Finding("torch family", "ok", ""))
    monkeypatch.setattr("anchor.faces.available_detectors", list)
    monkeypatch.setattr("anchor.speech.espeak.speak", lambda *words: 1 / 0)
    with pytest.raises(ConfigError, match="face models, speech: missing or unfit"):
        check()
    said = capsys.readouterr().out
    assert "ANCHOR_MODELS=DIR" in said
    assert "ZeroDivisionError" in said


def test_an_unknown_preset_is_answered(capsys):
    assert main(["check", "model=wav2lip69"]) == 2
    assert "model=wav2lip69 is unknown. Did you mean wav2lip96?" in capsys.readouterr().err


def test_the_sizes_of_a_preset_are_a_table(capsys):
    assert main(["check", "model=tiny"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^generator \(LipGenerator\) +0\.709 M +0\.125 +frame +2\.84$", said, re.MULTILINE)
    assert re.search(r"^  mouth_encoder +0\.237 M", said, re.MULTILINE)
    assert "a multiply-add is 2" in said


def test_presets_keep_their_promises():
    from anchor.models.sizes import model_sizes

    assert {"tiny", "unet168", "wav2lip96", "live96", "hd192", "hd256", "hd384"} <= set(list_presets())
    live = build_preset("live96")
    assert live["image_size"] == live["generator"].image_size == 96
    assert model_sizes(live["generator"])[0].gflop <= 1.0  # GFLOP a frame: live on a CPU
    assert {name for name, _ in live["generator"].named_children()} == {
        "identity_encoder", "speech_encoder", "face_decoder",
    }  # fmt: skip


def test_every_dependency_of_the_project_is_found_under_the_name_it_is_imported_by():
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") :].split("\n]")[0]
    names = re.findall(r'^    "([\w-]+)', block, re.MULTILINE)
    assert "pillow" in names
    assert [name for name in names if look_at_package(name).state != "ok"] == []
