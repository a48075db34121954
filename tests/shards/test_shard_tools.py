"""The commands `anchor shards verify|stat|show|merge|split`."""

import errno
import os
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest
from damaging import edit_manifest, flip, read_all, write_version1

from anchor.__main__ import main
from anchor.errors import ConfigError, DamagedError, ShardError
from anchor.shards import ShardSet, merge, progress
from anchor.shards.verify import verify
from anchor.shards.writer import ShardSetWriter


def anchor(capsys, *words):
    """Status, output and error output of a command."""
    status = main(["shards", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def contents(path):
    return dict(read_all(ShardSet(path)))


@pytest.mark.parametrize("workers", [1, 3])
def test_verify_counts_a_whole_set(shards, capsys, workers):
    num_bytes = sum(path.stat().st_size for path in shards.glob("*.tar"))
    status, out, err = anchor(capsys, "verify", shards, f"workers={workers}")
    assert (status, err) == (0, "")
    assert out == f"{shards}: 6 clips, 36 members, {num_bytes} bytes: all as written\n"


@pytest.mark.parametrize("workers", [1, 3])
def test_verify_lists_damage_by_file_clip_and_member(tmp_path, new_shards, capsys, workers):
    shards = new_shards(tmp_path / "set", max_shard_bytes=1)
    source = ShardSet(shards)
    flip(shards / "shard-000001.tar", source.index(1).place(0, "mel.npy")[1] + 200)
    flip(shards / "shard-000002.tar", source.index(2).place(0, "audio.flac")[1] + 200)
    flip(shards / "shard-000003.tar", source.index(3).place(0, "audio.flac")[1] - 500)
    (shards / "shard-000004.tar").unlink()
    flip(shards / "shard-000005.idx", 99)
    (shards / "shard-000099.tar").touch()
    status, out, err = anchor(capsys, "verify", shards, f"workers={workers}")
    assert status == 2
    rows = [line.split()[:3] for line in out.splitlines()]
    assert rows[0] == ["file", "clip", "member"]
    assert sorted(rows[1:]) == [
        ["shard-000001.tar", "clip1", "mel.npy"],
        ["shard-000002.tar", "clip2", "audio.flac"],
        ["shard-000003.tar", "-", "-"],  # its first header: seen at opening, and by the member that follows
        ["shard-000003.tar", "clip3", "audio.flac"],
        ["shard-000004.tar", "-", "-"],
        ["shard-000005.idx", "-", "-"],
        ["shard-000099.tar", "-", "-"],
    ]
    assert "is damaged: 7 findings in 6 of 12 files, 5 of 6 clips" in err
    assert "damaged=skip` saves what is whole" in err


def test_verify_says_how_far_it_is(shards, capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    _, _, err = anchor(capsys, "verify", shards)
    assert "verify: 100 %, " in err or "verify: 99 %, " in err
    assert all(" left" in line and "/s, " in line for line in err.splitlines())


def test_what_is_no_set_ends_with_one_sentence(tmp_path, capsys):
    for command in (["verify"], ["stat"], ["show"], ["merge", "out=x"], ["split", "out=x", "by=split"]):
        status, out, err = anchor(capsys, command[0], tmp_path / "nowhere", *command[1:])
        assert (status, out) == (2, "")
        assert "is no set of shards" in err
        assert err.count("\n") == 1
    with pytest.raises(ConfigError, match="workers=0"):
        verify(str(tmp_path), workers=0)


def test_stat_is_one_table(shards, capsys):
    status, out, _ = anchor(capsys, "stat", shards)
    assert status == 0
    rows = dict(line.strip().split("  ", 1) for line in out.splitlines()[1:])
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["clips"] == "6, 0.5 to 0.5 s, median 0.5"
    assert rows["length"] == "0.00 h, 72 frames"
    assert rows["speakers"] == "3, 1.0 to 1.0 s, median 1.0 each"
    assert rows["split train"] == "5 clips, 0.00 h, 3 speakers"
    assert rows["split val"] == "1 clip, 0.00 h, 1 speaker"
    assert rows["silence"] == "25.0 to 25.0 %, median 25.0"
    assert rows["offset"] == "40.0 to 40.0 ms, median 40.0"
    assert "bytes per frame" in rows["shards"]


def test_show_lists_the_clips(shards, capsys):
    status, out, _ = anchor(capsys, "show", shards)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["key", *(f"clip{i}" for i in range(6))]
    assert out.splitlines()[6].split()[1:] == ["speaker2", "val", "12", "0.48", "shard-000001.tar"]


def test_show_draws_a_clip(shards, tmp_path, capsys, clip):
    status, out, _ = anchor(capsys, "show", shards, "key=clip3", f"out={tmp_path}/a/sheet.png")
    assert status == 0
    assert 'key: "clip3"' in out
    sheet = cv2.imread(str(tmp_path / "a" / "sheet.png"))[..., ::-1]
    assert sheet.shape == (2 * (96 + 12) + 80, 8 * 96, 3)
    first, ninth = sheet[12 : 12 + 96, :96], sheet[2 * 12 + 96 : 2 * 108, :96]
    frames = clip(3)[0]
    for drawn, frame in ((first, frames[0]), (ninth, frames[8])):
        assert np.abs(drawn.mean((0, 1)) - frame.mean((0, 1))).max() < 4


def test_show_writes_a_video_with_sound(shards, tmp_path, capsys):
    import av

    assert anchor(capsys, "show", shards, "key=clip3", f"out={tmp_path}/clip.mp4")[0] == 0
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 12 * 640


def test_show_says_what_it_needs(shards, capsys):
    assert "has no clip 'clip33'. Did you mean clip3?" in anchor(capsys, "show", shards, "key=clip33")[2]
    assert "needs key=" in anchor(capsys, "show", shards, "out=x.png")[2]
    assert "is none of .png, .jpg, .mp4" in anchor(capsys, "show", shards, "key=clip3", "out=x.gif")[2]


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


def test_the_commands_describe_themselves_without_torch():
    code = (
        "import sys; from anchor.__main__ import main\n"
        "for verb in ('verify', 'stat', 'show', 'merge', 'split'): main(['shards', verb, '--help'])\n"
        "sys.exit(str({'torch', 'cv2'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: anchor shards") == 5


def test_durations_and_sizes_are_said_in_their_units():
    assert [progress.megabytes(n) for n in (5, 5e3, 5.24e6, 5e9, 5e12)] == [
        "5 B",
        "5.0 kB",
        "5.2 MB",
        "5.0 GB",
        "5.0 TB",
    ]
    assert [progress._duration(n) for n in (5, 65, 3700, -1)] == ["5 s", "1 min 5 s", "1 h 1 min", "0 s"]
    assert [progress.counted(n, "clip") for n in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]


def test_verify_of_the_set_itself_yields_errors(shards):
    source = ShardSet(shards)
    assert list(source.verify()) == []
    flip(shards / "shard-000000.tar", source.index(0).place(0, "mel.npy")[1] + 200)
    (error,) = source.verify()
    assert isinstance(error, DamagedError)
    assert isinstance(error, ShardError)
    assert (error.key, error.member, error.shard) == ("clip0", "mel.npy", f"{shards}/shard-000000.tar")
