"""The demo is the proof: it learns, on speakers it never saw, in minutes; its report and its film are there."""

import json
import os
import shutil
import subprocess
import sys

import av
import pytest

from anchor.synth.corpus import render_corpus


def run_demo(out, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "launch.demo", f"out={out}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2700)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert str(out / "report.html") in done.stdout
    assert str(out / "speaking.mp4") in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def demo_dir(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    run_demo(out)
    return out


def scores(path):
    return json.loads((path / "scores.json").read_text())["scores"]


@pytest.mark.slow
def test_the_expert_tells_true_from_shifted_speech_on_speakers_it_never_saw(demo_dir):
    assert scores(demo_dir)["expert/pair_accuracy"] >= 0.9


@pytest.mark.slow
def test_the_mouth_opens_with_unseen_speech_and_not_with_another(demo_dir):
    measured = scores(demo_dir)
    assert measured["real/opening_r"] >= 0.9  # the reader can read
    assert measured["dub/opening_r"] >= 0.6
    assert abs(measured["dub/opening_r_control"]) <= 0.15


@pytest.mark.slow
def test_the_film_has_picture_and_sound_of_one_length(demo_dir):
    with av.open(str(demo_dir / "speaking.mp4")) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert video.average_rate == 25
        lengths = [float(stream.duration * stream.time_base) for stream in (video, audio)]
    assert abs(lengths[0] - lengths[1]) < 0.1
    assert lengths[0] > 5


@pytest.mark.slow
def test_the_report_needs_no_network(demo_dir):
    report = (demo_dir / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "https://" not in report


@pytest.mark.slow
def test_a_persons_video_runs_through_and_another_video_starts_anew(tmp_path):
    for seed in (1, 2):
        render_corpus(out=tmp_path / str(seed), speakers=1, clips=1, seconds=6, size=192, seed=seed, workers=1)
    film, out = tmp_path / "me.mp4", tmp_path / "out"
    shutil.copy(next((tmp_path / "1").rglob("*.mp4")), film)
    run_demo(out, f"video={film}", "quick=true")
    first = (out / "generator" / "checkpoints" / "last.ckpt").read_bytes()
    assert run_demo(out, f"video={film}", "quick=true").count("done before") == 10
    assert (out / "generator" / "checkpoints" / "last.ckpt").read_bytes() == first
    shutil.copy(next((tmp_path / "2").rglob("*.mp4")), film)
    said = run_demo(out, f"video={film}", "quick=true")
    assert said.count("done before") == 2  # the rendered speakers, who have nothing to do with the video
    assert (out / "generator" / "checkpoints" / "last.ckpt").read_bytes() != first
