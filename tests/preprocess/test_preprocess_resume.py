import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anchor.errors import ShardError
from anchor.preprocess import preprocess
from anchor.preprocess.cleaning import SegmentMeasures
from anchor.preprocess.results import ClipResult, SegmentResult, Thumbnail
from anchor.preprocess.settings import check_settings
from anchor.preprocess.sources import find_sources
from anchor.preprocess.work import FinishedClips, WorkFolder
from anchor.shards import ShardSet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clips(tmp_path, flashing):
    """A folder of three short videos."""
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        flashing(source / f"{name}.mp4", seconds=1.2)
    return source


def in_this_process(function, tasks, workers, on_crash):
    for i, task in enumerate(tasks):
        yield i, function(task)


def fail_after(number, monkeypatch, error):
    """The process is ended by ``error`` when clip ``number`` is to be done; the clips are done in this process."""
    from anchor.preprocess import work

    done = []

    def process(source, settings, folder):
        if len(done) == number:
            raise error
        done.append(source.name)
        return process_clip(source, settings, folder)

    process_clip = work.process_clip
    monkeypatch.setattr(work, "process_clip", process)
    monkeypatch.setattr("anchor.preprocess.run.run_all", in_this_process)
    return done


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, clips, no_models, monkeypatch, capsys):
    arguments = {"source": clips, "out": tmp_path / "out", "image_size": 64, "workers": 1, "duplicates": "keep"}
    with monkeypatch.context() as patch:
        fail_after(2, patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            preprocess(**arguments)
    assert "2 of 3 clips are done" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / ".out.work" / "clips").iterdir()) == ["a", "b"]
    done = fail_after(99, monkeypatch, KeyboardInterrupt())
    preprocess(**arguments)
    assert done == ["c.mp4"]
    assert "2 of 3 clips were done before" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    whole = next((tmp_path / "out").glob("*.tar")).read_bytes()
    preprocess(**{**arguments, "out": tmp_path / "other"})
    assert next((tmp_path / "other").glob("*.tar")).read_bytes() == whole  # as if nothing had happened


def test_other_settings_and_changed_files_are_done_anew(tmp_path, clips, flashing, no_models):
    settings = check_settings(64, "haar", 5, 10.0, 0.6)
    finished = FinishedClips(tmp_path / "clips")
    source = find_sources(clips)[0]
    made = finished.make(source, settings)
    assert made.is_kept
    assert finished.load(source, settings) == made
    assert finished.load(source, check_settings(48, "haar", 5, 10.0, 0.6)) is None
    member = next((finished.folder(source, settings) / made.segments[0].key).glob("frames.jpgs"))
    whole = member.read_bytes()
    member.write_bytes(whole[:-1])
    assert finished.load(source, settings) is None
    member.write_bytes(whole)
    assert finished.load(source, settings) == made
    os.utime(source.path, ns=(1, 1))
    assert finished.load(source, settings) is None


def test_a_result_survives_json():
    thumbnails = [Thumbnail("a_f0_000000", "0.4 s", "data:")]
    result = ClipResult("a.mp4", "a", True, notes=["n"], facts={"x": 1.5}, thumbnails=thumbnails)
    measures = SegmentMeasures(80.0, 0.5, 120.0, 40.0, None, None, None, -20.0, 0.9, 0.1, 0.08, None, 0.1)
    result.segments.append(SegmentResult("a_f0_000000", "a_f0", 0, 15, 99, 0, "soft", "why", measures))
    result.segments.append(SegmentResult("a_f0_000015", "a_f0", 15, 15))
    assert ClipResult.from_json(result.to_json()) == result


def test_a_second_process_is_refused(tmp_path, clips, no_models):
    with WorkFolder(tmp_path / "out"), pytest.raises(ShardError, match="another `anchor preprocess` is writing it"):
        preprocess(source=clips, out=tmp_path / "out", image_size=64, workers=1)
    assert not (tmp_path / ".out.work").exists()  # nothing was done in it
    preprocess(source=clips, out=tmp_path / "out", image_size=64, workers=1)


def test_a_full_disk_is_said_and_the_work_kept(tmp_path, clips, no_models, capsys):
    arguments = {"source": clips, "out": tmp_path / "out", "image_size": 64, "workers": 1, "duplicates": "keep"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (130_000, hard))  # every segment fits, the shard of all does not
    try:
        with pytest.raises(ShardError, match=r"cannot be written.*3 of 3 clips are done and stay in") as caught:
            preprocess(**arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the same command goes on" in str(caught.value)
    preprocess(**arguments)
    assert "3 of 3 clips were done before" in capsys.readouterr().err


def test_no_right_to_write_is_one_sentence(tmp_path, clips, no_models):
    (tmp_path / "file").write_text("no folder")
    for out in (tmp_path / "file" / "out", Path("/proc/out")):
        with pytest.raises(ShardError, match="cannot be written") as caught:
            preprocess(source=clips, out=out, image_size=64, workers=1)
        assert str(out) in str(caught.value)


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
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_leaves_no_process_and_goes_on(tmp_path, flashing, no_models, end):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(10):
        flashing(source / f"clip{i}.mp4", seconds=3)
    command = [sys.executable, "-m", "anchor", "preprocess", f"source={source}", f"out={tmp_path / 'out'}", "workers=2"]
    command += ["duplicates=keep"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.work/clips/*/result.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(end)  # to the parent alone
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL)
    if end == signal.SIGINT:
        assert "of 10 clips are done" in said
        assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while alive := members_of(process.pid):
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "of 10 clips were done before" in again.stderr
    assert len({clip.speaker for clip in ShardSet(tmp_path / "out").clips}) == 10
    assert not (tmp_path / ".out.work").exists()
