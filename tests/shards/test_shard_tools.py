"""The commands `anchor shards verify|stat|show|merge|split`."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from damaging import flip
from shard_commands import anchor

from anchor.errors import ConfigError, DamagedError, ShardError
from anchor.shards import ShardSet, progress
from anchor.shards.verify import verify


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
