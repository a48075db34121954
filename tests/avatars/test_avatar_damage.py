"""A package that is not what was built is refused in one sentence, before anything in it is used."""

import json
import pickle
import shutil

import numpy as np
import pytest

from anchor.avatars import Avatar, check
from anchor.avatars.package import package_id
from anchor.errors import AvatarError


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built, tmp_path / "a")
    return tmp_path / "a"


def forge(path, change):
    """Change avatar.json as one would who knows how its id is made."""
    told = json.loads((path / "avatar.json").read_text())
    change(told)
    told["id"] = package_id(told)
    (path / "avatar.json").write_text(json.dumps(told))


def refused(path, words):
    with pytest.raises(AvatarError, match=words) as caught:
        Avatar.open(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_its_name_may_be_changed_and_nothing_else(copy):
    told = json.loads((copy / "avatar.json").read_text())
    (copy / "avatar.json").write_text(json.dumps({**told, "name": "Anna 安娜"}))
    assert Avatar.open(copy).name == "Anna 安娜"
    (copy / "avatar.json").write_text(json.dumps({**told, "made": "yesterday"}))
    refused(copy, "was changed after the avatar was built")


@pytest.mark.parametrize(
    "file", ["clips/idle.mp4", "clips/idle.rest.mp4", "clips/wave.safetensors", "network/model.safetensors"]
)
def test_one_bit(copy, file):
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    refused(copy, f"{file.split('/')[1]} is damaged")


def test_a_file_that_is_cut_off_missing_or_a_link(copy, built):
    clip = copy / "clips" / "idle.mp4"
    data = clip.read_bytes()
    clip.write_bytes(data[:-10])
    refused(copy, r"idle\.mp4 has \d+ bytes, and avatar\.json says")
    clip.unlink()
    refused(copy, r"idle\.mp4 is missing")
    clip.symlink_to(built / "clips" / "idle.mp4")
    refused(copy, "not a plain file")


def test_pickles_are_refused_whoever_put_them_there(copy):
    (copy / "coords.pkl").write_bytes(pickle.dumps([1]))
    refused(copy, r"coords\.pkl could run code")
    (copy / "coords.pkl").unlink()
    faces = copy / "clips" / "idle.safetensors"
    faces.write_bytes(pickle.dumps({"boxes": [1]}))
    forge(copy, lambda told: _take_sum(told, copy, "clips/idle.safetensors"))
    refused(copy, "not a readable safetensors file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(format="zip"), "is not of an avatar"),
        (lambda told: told.update(format_version=2), "format is version 2, and this anchor reads 1"),
        (lambda told: told.update(name="x" * 65), "1 to 64 printable"),
        (lambda told: told.update(name="a\x1b[2J"), "printable"),
        (lambda told: told.update(size=[10**6, 10**6]), "size, crop_size or fps"),
        (lambda told: told.update(crop_size=True), "size, crop_size or fps"),
        (lambda told: told.update(mel_config_hash="0" * 12), "mels of configuration 000000000000"),
        (lambda told: told["clips"].pop("idle"), "one of them called idle"),
        (lambda told: told.update(clips=[1]), "one of them called idle"),
        (lambda told: told["clips"].update({"../../etc": {}}), "is no name of a clip"),
        (lambda told: told["clips"]["idle"].update(frames=10**9), "points, a kind or a loop that cannot be"),
        (lambda told: told["clips"]["wave"].update(out=26), "points, a kind or a loop that cannot be"),
        (lambda told: told["clips"]["wave"].update(enter=-1), "joins the idle clip where"),
        (lambda told: told["files"].update({"../../etc/passwd": {"bytes": 1, "sha256": ""}}), "list of files"),
        (lambda told: told["files"]["clips/idle.mp4"].update(bytes="many"), "says many"),
        (lambda told: told["clips"]["wave"].update(frames=24), "key frames"),
        (lambda told: told.update(size=[160, 200]), "shows 200x160"),
        (lambda told: told.update(crop_size=48), "is of another clip: .*crops"),
    ],
)
def test_forged_facts(copy, change, words):
    forge(copy, change)
    refused(copy, words)


def test_boxes_that_cannot_be(copy):
    from safetensors.numpy import load_file, save_file

    path = copy / "clips" / "idle.safetensors"
    table = load_file(path)
    for name, value in (("boxes", np.nan), ("references", 10_000), ("regions", -2), ("presence", 2.0)):
        save_file({**table, name: np.full_like(table[name], value)}, path)
        forge(copy, lambda told: _take_sum(told, copy, "clips/idle.safetensors"))
        refused(copy, "boxes, references or regions that cannot be")


def test_what_is_no_avatar_at_all(tmp_path):
    refused(tmp_path / "none", "does not exist")
    refused(tmp_path, r"holds no avatar\.json")
    (tmp_path / "avatar.json").write_text("[" * 100_000)
    refused(tmp_path, "is no JSON")
    (tmp_path / "avatar.json").write_text("[]")
    refused(tmp_path, "is not of an avatar")
    (tmp_path / "avatar.json").write_bytes(b" " * (2**20 + 1))
    refused(tmp_path, "no avatar needs as many")


def test_check_names_what_does_not_belong(copy, capsys):
    (copy / "notes.txt").write_text("mine")
    check(copy)
    assert "no part of it: notes.txt" in capsys.readouterr().out


def _take_sum(told, path, file):
    from anchor.models.exported import hash_file

    told["files"][file] = {"bytes": (path / file).stat().st_size, "sha256": hash_file(path / file)}
