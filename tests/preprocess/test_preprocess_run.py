import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from anchor.errors import ConfigError, FaceError, MediaError, ShardError
from anchor.media import write_video
from anchor.preprocess import preprocess
from anchor.preprocess.pool import run_all
from anchor.shards import ShardSet

ROOT = Path(__file__).resolve().parents[2]
EVENTS_S = (0.52, 1.0, 1.64, 2.2)  # see conftest.py


def onsets(signal_, level, rate):
    is_on = np.concatenate([[False], signal_ > level])
    return np.flatnonzero(np.diff(is_on.astype(int)) == 1) / rate


def seen_and_heard(shards):
    """When the patch turns blue and when the beep starts, in seconds of the source, over all segments."""
    seen, heard = [], []
    for clip in shards.clips:
        start_s = shards.read_meta(clip)["start_s"]
        frames = shards.read_frames(clip, range(clip.num_frames)).astype(int)
        blue = (frames[..., 2] - frames[..., 0] > 90).mean(axis=(1, 2))
        seen += list(start_s + onsets(blue, 0.004, 25))
        heard += list(start_s + onsets(shards.read_mel(clip).mean(1), -1.0, 80))
    return np.array(sorted(seen)), np.array(sorted(heard))


@pytest.mark.parametrize(("fps", "late_s"), [(25.0, 0.0), (30.0, 0.0), (25.0, 0.36), (30_000 / 1001, 0.3)])
def test_picture_and_speech_agree_to_a_frame(tmp_path, flashing, no_models, fps, late_s):
    flashing(tmp_path / "clip.mp4", fps=fps, late_s=late_s)
    preprocess(source=tmp_path / "clip.mp4", out=tmp_path / "out", image_size=96, workers=1)
    seen, heard = seen_and_heard(ShardSet(tmp_path / "out"))
    assert len(seen) == len(heard) == len(EVENTS_S)
    np.testing.assert_allclose(heard, EVENTS_S, atol=0.04)
    np.testing.assert_allclose(seen, EVENTS_S, atol=0.04)
    np.testing.assert_allclose(seen, heard, atol=0.04)


def test_bad_files_do_not_stop_the_run(tmp_path, flashing, no_models, capsys):
    source = tmp_path / "source"
    for speaker in ("ann", "bob"):
        (source / speaker).mkdir(parents=True)
        flashing(source / speaker / "good.mp4")
    good = (source / "ann" / "good.mp4").read_bytes()
    (source / "ann" / "text.mp4").write_text("no video")
    (source / "ann" / "zero.mp4").write_bytes(b"")
    (source / "bob" / "cut.mp4").write_bytes(good[: len(good) // 8])
    write_video(source / "bob" / "mute.mp4", [np.zeros((64, 64, 3), np.uint8)] * 30)
    write_video(
        source / "bob" / "empty_room.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30, audio=np.zeros(19200, np.float32)
    )
    summary = preprocess(source=source, out=tmp_path / "out", image_size=64, workers=2)
    assert (summary.kept, summary.refused) in ((2, 5), (3, 4))  # of the cut one a start may be left
    printed = capsys.readouterr()
    assert str(summary) in printed.out
    assert "preprocess: 7/7 clips" in printed.err
    shards = ShardSet(tmp_path / "out")
    assert {clip.split for clip in shards.clips} == {"train", "val"}
    assert shards.manifest["speakers"] == ["ann", "bob"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    reasons = {clip["source"]: clip["reason"] for clip in report["clips"]}
    assert "zero bytes" in reasons["ann/zero.mp4"]
    assert "no video or sound" in reasons["ann/text.mp4"]
    assert "no audio track" in reasons["bob/mute.mp4"]
    assert "no face" in reasons["bob/empty_room.mp4"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "http" not in page
    assert all(name in page for name in reasons)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_finished_set_is_left_alone_and_a_changed_one_is_made_again(tmp_path, flashing, no_models, capsys):
    source = flashing(tmp_path / "clip.mp4", seconds=1.6)
    arguments = {"source": source, "out": tmp_path / "out", "image_size": 64, "workers": 1}
    first = preprocess(**arguments)
    state = (tmp_path / "out" / "manifest.json").stat()
    assert first.segments == 2  # one person, one segment: cut in two, so that something is held out
    assert {clip.split for clip in ShardSet(tmp_path / "out").clips} == {"train", "val"}
    capsys.readouterr()
    assert preprocess(**arguments) == first
    assert "already made" in capsys.readouterr().out
    assert (tmp_path / "out" / "manifest.json").stat().st_ino == state.st_ino
    bytes_before = next((tmp_path / "out").glob("*.tar")).read_bytes()
    next((tmp_path / "out").glob("*.tar")).write_bytes(b"damaged")
    preprocess(**arguments)
    assert next((tmp_path / "out").glob("*.tar")).read_bytes() == bytes_before  # the same input, the same shards
    preprocess(**{**arguments, "image_size": 48})
    assert ShardSet(tmp_path / "out").image_size == 48


def test_truth_is_kept_and_cut(tmp_path, flashing, no_models):
    source = flashing(tmp_path / "clip.mp4", seconds=1.6)
    truth = {
        "speaker": "drawn",
        "opening": [i / 100 for i in range(40)],
        "boxes": [None] * 40,
        "fps": 25,
        "phonemes": [["a", 1.0]],
    }
    source.with_suffix(".truth.json").write_text(json.dumps(truth))
    preprocess(source=source, out=tmp_path / "out", image_size=64, workers=1)
    shards = ShardSet(tmp_path / "out")
    for clip in shards.clips:
        meta = shards.read_meta(clip)
        first = round(meta["start_s"] * 25)
        assert clip.speaker == meta["speaker"] == "drawn"
        assert meta["truth"]["opening"] == [i / 100 for i in range(first, first + clip.num_frames)]
        assert len(meta["boxes"]) == clip.num_frames
        expected = [["a", pytest.approx(1.0 - first / 25)]] if first <= 25 < first + clip.num_frames else []
        assert meta["truth"]["phonemes"] == expected


def test_nothing_kept_is_an_error_and_leaves_nothing(tmp_path, no_models):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(MediaError, match="no video or sound"):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"image_size": 8}, ConfigError), ({"val_share": 0}, ConfigError), ({"detect_every": 0}, ConfigError),
        ({"segment_s": 0.7}, ConfigError), ({"min_s": 0.1}, ConfigError), ({"workers": -1}, ConfigError),
        ({"detector": "insightface"}, FaceError),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_first(tmp_path, no_models, argument, error):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(error, match=next(iter(argument))):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out", **argument)


def test_a_folder_with_other_things_is_never_replaced(tmp_path, no_models):
    (tmp_path / "bad.mp4").write_text("no video")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ShardError, match=r"thesis\.tex"):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out")


def _die_on_two(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def test_a_clip_that_kills_its_process_takes_no_other_with_it():
    results = dict(run_all(_die_on_two, [0, 1, 2, 3, 4], 2, lambda task: -task))
    assert results == {0: 0, 1: 10, 2: -2, 3: 30, 4: 40}


def members_of(group):
    """The numbers of the living processes of a process group (zombies are not alive)."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                alive.append(int(path.parent.name))
    return alive


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tmp_path, flashing, no_models):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(12):
        flashing(source / f"clip{i}.mp4", seconds=8)
    code = (
        "from pathlib import Path; from anchor.preprocess import preprocess\n"
        "if __name__ == '__main__':\n"
        f"    preprocess(source=Path({str(source)!r}), out=Path({str(tmp_path / 'out')!r}), workers=2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, script], cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.partial-*/parts/*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.py", "source"]
    deadline = time.monotonic() + 20
    while alive := members_of(process.pid):
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["g01_360x288_mpeg1.mpg", "p02_man_700px_vfr22.mp4", "x01_multishot_2997fps.mp4"])
def test_real_clips_go_through(tmp_path, data_dir, no_models, name):
    summary = preprocess(source=data_dir / "data" / "clips" / name, out=tmp_path / "out", image_size=96, workers=1)
    assert summary.segments >= 2
    shards = ShardSet(tmp_path / "out")
    for clip in shards.clips:
        assert shards.read_frames(clip, [0, clip.num_frames - 1]).shape == (2, 96, 96, 3)
        assert len(shards.read_mel(clip)) == 1 + clip.num_frames * 16 // 5
        assert len(shards.read_audio(clip)) == clip.num_frames * 640
    if name.startswith("x01"):
        assert min(shards.read_meta(clip)["start_s"] for clip in shards.clips) >= 0.84


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["haar", "yunet"])
@pytest.mark.parametrize("name", ["p01_woman_900px_25fps.mp4", "p08_man_256px_25fps_60s.mp4"])
def test_long_real_clips_go_through(tmp_path, data_dir, monkeypatch, name, detector):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    summary = preprocess(source=data_dir / "data" / "clips" / name, out=tmp_path / "out", detector=detector, workers=1)
    seconds = 15.0 if name.startswith("p01") else 59.96
    assert summary.seconds == pytest.approx(seconds, abs=0.5)
    assert summary.segments == (2 if seconds < 20 else 6)
