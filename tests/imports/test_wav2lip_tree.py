"""A tree of face crops and wavs becomes a set; what cannot be used is named, counted, and never followed outside."""

from __future__ import annotations

import json

import numpy as np
import pytest
from foreign_folders import write_wav

from anchor.errors import ConfigError, MediaError
from anchor.imports.wav2lip_tree import import_tree
from anchor.ops.jpeg import encode_rgb
from anchor.shards import ShardSet


def make_clip(folder, numbers, seconds, rate=16000):
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / f"{number}.jpg").write_bytes(encode_rgb(np.full((70, 60, 3), number, np.uint8)))
    write_wav(folder / "audio.wav", seconds, rate)


def test_a_tree_becomes_a_set_and_refusals_are_named(tmp_path, capsys):
    tree = tmp_path / "tree"
    make_clip(tree / "anna" / "00001", range(50), 2.0)
    make_clip(tree / "anna" / "gap.x", [*range(20), *range(22, 50)], 2.0)
    make_clip(tree / "bert" / "fast", range(30), 1.6, rate=48000)
    make_clip(tree / "bert" / "long", range(50), 1.0)
    make_clip(tree / "bert" / "mute", range(20), 1.0)
    (tree / "bert" / "mute" / "audio.wav").unlink()
    make_clip(tree / "bert" / "list", range(20), 1.0)
    (tree / "bert" / "list" / "audio.wav").write_text("#EXTM3U\n/etc/passwd\n")
    make_clip(tree / "bert" / "broken", range(20), 1.0)
    (tree / "bert" / "broken" / "7.jpg").write_bytes(b"\xff\xd8nothing")
    make_clip(tree / "bert" / "link", range(20), 1.0)
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(encode_rgb(np.zeros((64, 64, 3), np.uint8)))
    (tree / "bert" / "link" / "3.jpg").unlink()
    (tree / "bert" / "link" / "3.jpg").symlink_to(outside)
    make_clip(tmp_path / "away", range(20), 1.0)
    (tree / "bert" / "out").symlink_to(tmp_path / "away")
    make_clip(tree / "bert" / "bomb", range(20), 1.0)
    jpeg = bytearray(encode_rgb(np.zeros((64, 64, 3), np.uint8)))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    (tree / "bert" / "bomb" / "0.jpg").write_bytes(bytes(jpeg))
    import_tree(source=tree, out=tmp_path / "set", image_size=64)
    out, err = capsys.readouterr()
    assert "3 clips kept, 7 refused, 4 segments" in out
    for said in (
        "refused bert/long: bert/long: 50 frames are 2.00 s at 25 fps, and its sound has 1.00 s",
        "mute/audio.wav is missing", "list/audio.wav is no wav", "7.jpg is no JPEG", "3.jpg leads out of",
        "out leads out of", "65535x65535 px", "bert/fast: its sound has 48000 samples", "2 of 50 frames are missing",
    ):  # fmt: skip
        assert said in err
    shards = ShardSet(str(tmp_path / "set"))
    lengths = {clip.key: (clip.speaker, clip.num_frames) for clip in shards.clips}
    assert lengths == {
        "anna_00001_000000": ("anna", 50), "anna_gap_x_000000": ("anna", 20),
        "anna_gap_x_000025": ("anna", 25), "bert_fast_000000": ("bert", 30),
    }  # fmt: skip
    late = shards.clips[shards.clips.find("anna_gap_x_000025")]
    assert shards.read_frames(late, [3])[0].mean() == pytest.approx(28, abs=1)  # a gap moves no frame
    assert {clip.split for clip in shards.clips} == {"train", "val"}
    report = json.loads((tmp_path / "set" / "report.json").read_text())
    assert (report["kept"], report["refused"]) == (3, 7)


def test_lists_say_who_validates(tmp_path, capsys):
    for name in ("a/1", "a/2", "a/3"):
        make_clip(tmp_path / "tree" / name, range(20), 1.0)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("a/1 10\n")
    (lists / "val.txt").write_text("a/2\na/9\n")
    import_tree(source=tmp_path / "tree", out=tmp_path / "set", image_size=64, filelists=lists)
    err = capsys.readouterr().err
    assert "refused a/3: none of the lists names it" in err
    assert "refused a/9: a list names it" in err
    clips = ShardSet(str(tmp_path / "set")).clips
    assert {clip.key[:3]: clip.split for clip in clips} == {"a_1": "train", "a_2": "val"}
    (lists / "val.txt").write_text("../../etc/passwd\n")
    with pytest.raises(ConfigError, match=r"line 1: '../../etc/passwd' is no SPEAKER/CLIP"):
        import_tree(source=tmp_path / "tree", out=tmp_path / "new", filelists=lists)
    with pytest.raises(MediaError, match="none of 0 clips"):
        import_tree(source=lists, out=tmp_path / "new", image_size=64)
    assert not (tmp_path / "new").exists()
