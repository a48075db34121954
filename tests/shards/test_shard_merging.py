"""Several sets to one, and one to several: `anchor shards merge` and `split`."""

import errno
import os
import resource

import numpy as np
import pytest
from damaging import edit_manifest, flip, write_version1
from shard_commands import anchor, contents

from anchor.shards import ShardSet, merge
from anchor.shards.writer import ShardSetWriter


def test_merge_makes_one_set_of_several(tmp_path, new_shards, capsys):
    one, two = new_shards(tmp_path / "a"), new_shards(tmp_path / "b", range(3), prefix="other")
    status, out, _ = anchor(capsys, "merge", f"[{one},{two}]", f"out={tmp_path}/c")
    assert status == 0
    assert f"{tmp_path}/c: 9 of 9 clips from 2 sets, 0 left out, 108 frames" in out
    assert contents(tmp_path / "c") == {**contents(one), **contents(two)}
    assert anchor(capsys, "verify", tmp_path / "c")[0] == 0
    merged = ShardSet(tmp_path / "c")
    assert [clip.split for clip in merged.clips] == [clip.split for p in (one, two) for clip in ShardSet(p).clips]
    assert [entry["identity"] for entry in merged.manifest["merged_from"]] == [
        ShardSet(one).identity, ShardSet(two).identity,
    ]  # fmt: skip
    assert "speakers are in several sets and on both sides of the split, the first is 'speaker2'" in out


def test_equal_keys_are_refused_or_prefixed(tmp_path, new_shards, capsys):
    one, two = new_shards(tmp_path / "a"), new_shards(tmp_path / "b", range(3))
    status, _, err = anchor(capsys, "merge", f"source=[{one},{two}]", f"out={tmp_path}/c")
    assert status == 2
    assert f"clip 'clip0' is in {one} and in {two}, and 2 more keys. Give prefix=true" in err
    assert not (tmp_path / "c").exists()
    assert anchor(capsys, "merge", f"source=[{one},{two}]", f"out={tmp_path}/c", "prefix=true")[0] == 0
    keys = [clip.key for clip in ShardSet(tmp_path / "c").clips]
    assert keys == [f"a/clip{i}" for i in range(6)] + [f"b/clip{i}" for i in range(3)]
    assert anchor(capsys, "merge", f"[{one},{one}]", f"out={tmp_path}/d", "prefix=true")[0] == 0
    assert ShardSet(tmp_path / "d").clips[6].key == "a-1/clip0"


def test_sets_that_do_not_fit_are_refused(tmp_path, new_shards, capsys):
    one, two = new_shards(tmp_path / "a"), new_shards(tmp_path / "b", range(3), prefix="other")
    edit_manifest(two, lambda manifest: manifest.update(image_size=96))
    assert "has crops of 96 pixels, " in anchor(capsys, "merge", f"[{one},{two}]", f"out={tmp_path}/c")[2]
    edit_manifest(two, lambda manifest: manifest.update(image_size=48, mel_config_hash="x"))
    assert "has mel parameters x, " in anchor(capsys, "merge", f"[{one},{two}]", f"out={tmp_path}/c")[2]
    assert "exists already" in anchor(capsys, "merge", one, f"out={two}")[2]
    assert "names no set" in anchor(capsys, "merge", "source=[]", f"out={tmp_path}/c")[2]
    assert "shard_mb=0" in anchor(capsys, "merge", one, f"out={tmp_path}/c", "shard_mb=0")[2]


def test_merge_changes_the_codec(shards, tmp_path, capsys):
    assert anchor(capsys, "merge", shards, f"out={tmp_path}/video", "codec=h264")[0] == 0
    assert anchor(capsys, "verify", tmp_path / "video")[0] == 0
    before, after = ShardSet(shards), ShardSet(tmp_path / "video")
    assert after.codec == "h264"
    for one, other in zip(before.clips, after.clips, strict=True):
        assert after.read_meta(other) == before.read_meta(one)
        assert after.read_member(other.location, "audio.flac") == before.read_member(one.location, "audio.flac")
        difference = after.read_frames(other, range(12)).astype(int) - before.read_frames(one, range(12))
        assert np.abs(difference).mean() < 1.5
    assert anchor(capsys, "merge", tmp_path / "video", f"out={tmp_path}/back", "codec=jpeg")[0] == 0
    assert ShardSet(tmp_path / "back").codec == "jpeg"


def test_merge_migrates_the_older_format(shards, tmp_path, capsys):
    old = write_version1(tmp_path / "old", ShardSet(shards))
    assert "Migrate it" in anchor(capsys, "stat", old)[2]
    status, out, _ = anchor(capsys, "merge", f"source={old}", f"out={tmp_path}/new")
    assert status == 0
    assert "6 of 6 clips from 1 set, 0 left out, 72 frames" in out
    assert contents(tmp_path / "new") == contents(shards)
    assert anchor(capsys, "verify", tmp_path / "new")[0] == 0


def test_merge_checks_the_older_format_too(shards, tmp_path, capsys):
    source = ShardSet(shards)
    old = write_version1(tmp_path / "old", source)
    flip(old / "shard-000001.tar", source.index(1).place(0, "mel.npy")[1] + 99)
    assert "mel.npy is damaged" in anchor(capsys, "merge", old, f"out={tmp_path}/new")[2]
    index = old / "shard-000001.idx.json"
    index.write_text(index.read_text().replace("512", "513"))
    assert "is not the index that was written" in anchor(capsys, "merge", old, f"out={tmp_path}/new")[2]
    index.unlink()
    assert "cannot be read" in anchor(capsys, "merge", old, f"out={tmp_path}/new")[2]
    assert not (tmp_path / "new").exists()


def test_damage_stops_a_merge_or_is_left_out(tmp_path, new_shards, capsys):
    shards = new_shards(tmp_path / "set", max_shard_bytes=1)
    source = ShardSet(shards)
    whole = contents(shards)
    flip(shards / "shard-000002.tar", source.index(2).place(0, "frames.jpgs")[2] - 9)
    status, _, err = anchor(capsys, "merge", shards, f"out={tmp_path}/new")
    assert status == 2
    assert "clip 'clip2', frames.jpgs is damaged" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    (shards / "shard-000004.tar").unlink()
    (shards / "shard-000005.idx").unlink()
    status, out, _ = anchor(capsys, "merge", shards, f"out={tmp_path}/new", "damaged=skip")
    assert status == 0
    assert out.count("left out: ") == 3
    assert "3 of 6 clips from 1 set, 3 left out" in out
    assert contents(tmp_path / "new") == {key: whole[key] for key in ("clip0", "clip1", "clip3")}
    for path in shards.glob("*.tar"):
        path.unlink()
    assert anchor(capsys, "merge", shards, f"out={tmp_path}/none", "damaged=skip")[0] == 2
    assert not (tmp_path / "none").exists()


def test_a_full_disk_leaves_nothing(shards, tmp_path, capsys, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        status, _, err = anchor(capsys, "merge", shards, f"out={tmp_path}/new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert "could not be written: the disk is full or a file has reached its limit. Nothing is left of it" in err
    monkeypatch.setattr(
        ShardSetWriter, "close", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    )
    for words in (["merge"], ["split", "by=split"]):
        assert "the disk is full" in anchor(capsys, words[0], shards, f"out={tmp_path}/new", *words[1:])[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]


def test_a_disk_that_is_too_small_is_refused_at_once(shards, tmp_path, capsys, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "the disk has 1.0 kB left" in anchor(capsys, "merge", shards, f"out={tmp_path}/new")[2]


def test_a_merge_that_is_ended_leaves_nothing(shards, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardSetWriter, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        merge.merge((str(shards),), out=tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        (["by=speaker"], {"speaker0": [0, 3], "speaker1": [1, 4], "speaker2": [2, 5]}),
        (["by=split"], {"train": [0, 1, 2, 3, 4], "val": [5]}),
        (["by=parts", "parts=3"], {"part-0": [0, 1], "part-1": [2, 3], "part-2": [4, 5]}),
        (["by=parts", "parts=6"], {f"part-{i}": [i] for i in range(6)}),
        (["by=parts", "parts=1"], {"part-0": list(range(6))}),
    ],
)
def test_split_loses_nothing(shards, tmp_path, capsys, words, folders):
    status, out, _ = anchor(capsys, "split", shards, f"out={tmp_path}/parts", *words)
    assert status == 0
    whole, found = contents(shards), {}
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(folders)
    for name, numbers in folders.items():
        part = contents(tmp_path / "parts" / name)
        assert list(part) == [f"clip{i}" for i in numbers]
        found.update(part)
    assert found == whole
    assert f"{tmp_path}/parts: 6 of 6 clips, 72 frames, in {len(folders)} set" in out
    assert anchor(capsys, "split", shards, f"out={tmp_path}/again", *words)[0] == 0
    for path in (tmp_path / "parts").rglob("*.tar"):
        assert (tmp_path / "again" / path.relative_to(tmp_path / "parts")).read_bytes() == path.read_bytes()


def test_parts_have_about_equal_length(tmp_path, clip, capsys):
    from anchor.ops.mel import mel_config_hash
    from anchor.shards import encode_clip

    (tmp_path / "set").mkdir()
    writer = ShardSetWriter(tmp_path / "set", 48, mel_config_hash())
    for number, frames in enumerate([100, 1, 1, 1, 50, 50]):
        pictures, mel, audio = clip(number, 1)
        members = encode_clip(pictures * frames, mel, audio, {})
        writer.add(members, key=f"c{number}", speaker="s/../x", split="train", num_frames=frames)
    writer.close()
    assert anchor(capsys, "split", tmp_path / "set", f"out={tmp_path}/p", "by=parts", "parts=2")[0] == 0
    frames = [ShardSet(tmp_path / "p" / f"part-{i}").manifest["num_frames"] for i in range(2)]
    assert frames == [101, 102]
    assert anchor(capsys, "split", tmp_path / "set", f"out={tmp_path}/q", "by=speaker")[0] == 0
    assert [path.name for path in (tmp_path / "q").iterdir()] == ["s____x"]


def test_split_says_what_it_needs(shards, tmp_path, capsys):
    for words, said in (
        (["by=parts"], "by=parts needs parts=N"), (["by=split", "parts=2"], "by=split takes no parts="),
        (["by=parts", "parts=7"], "parts=7, but"), (["by=parts", "parts=0"], "Give 1 to 6"),
    ):  # fmt: skip
        status, _, err = anchor(capsys, "split", shards, f"out={tmp_path}/x", *words)
        assert status == 2
        assert said in err
