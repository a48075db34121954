"""`anchor sweep show` on sweeps as they may lie about: done, half done, broken, and on what is none."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from anchor.__main__ import main
from anchor.files import write_json
from launch.locks import claim
from launch.sweeps.dots import Dot, dot_chart
from launch.sweeps.state import JOB_LOCK, Job, Record, Sweep

LRS = ("1e-05", "0.0001", "0.001", "0.01")


@pytest.fixture
def folder(tmp_path):
    """Four jobs: 0 and 1 are done, 2 failed, 3 waits."""
    jobs = [Job(i, ("experiment=generator", f"module.lr={lr}", "model=tiny"), str(i)) for i, lr in enumerate(LRS)]
    sweep = Sweep(tmp_path / "sweep", "basic", [], ["module.lr", "model"], jobs)
    sweep.save()
    for number, status in enumerate(("done", "done", "failed")):
        add_run(sweep.folder / str(number), [0.5, 0.1 + number / 10, 0.3])
        reason = "RuntimeError: out of <memory>" if status == "failed" else ""
        Record(status, None, "val/l1", "min", reason).save(sweep.folder / str(number))
    return sweep.folder


def add_run(folder, scores):
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt"):
        (folder / "checkpoints" / name).write_bytes(b"")
    lines = [{"step": 10 * i, "epoch": 0, "seconds": i, "val/l1": score} for i, score in enumerate(scores, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def show(folder, capsys, *words):
    status = main(["sweep", "show", str(folder), *words])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_half_done_sweep_is_shown_best_first(folder, capsys):
    status, said = show(folder, capsys)
    assert status == 0
    lines = [line.split() for line in said.splitlines()]
    assert [line[:2] for line in lines[2:6]] == [["0", "done"], ["1", "done"], ["2", "failed"], ["3", "waiting"]]
    assert lines[2] == ["0", "done", "0.1000", "0.3000", "30", "3.0", "1e-05", "tiny"]
    assert "4 jobs, 2 done, 1 failed, 1 waiting; by val/l1, lowest first" in said
    assert "job 2 failed: RuntimeError: out of <memory>" in said
    assert f"best: job 0, {folder / '0' / 'checkpoints' / 'best.ckpt'}" in said


def test_a_stopped_job_says_how_far_it_came_also_before_its_first_number(folder, capsys):
    (folder / "3").mkdir()
    (folder / "3" / "metrics.jsonl").write_text('{"step": 7, "epoch": 0, "seconds": 1.5}\n')
    Record("stopped", None, "val/l1", "min", "stopped by SIGTERM").save(folder / "3")
    rows = [line.split() for line in show(folder, capsys)[1].splitlines()]
    assert ["3", "stopped", "7", "1.5", "0.01", "tiny"] in rows


def test_the_page_is_whole_and_needs_nothing_else(folder, capsys):
    assert show(folder, capsys)[0] == 0
    page = (folder / "sweep.html").read_text()
    assert not re.search(r"(src|href)\s*=|<script|@import|url\(", page)
    assert "out of &lt;memory&gt;" in page
    figures = re.findall(r"<figure>.*?</figure>", page)
    for figure in figures:
        ElementTree.fromstring(figure.replace("&nbsp;", " "))
    titles = [re.search(r"<b>(.*?)</b>", figure)[1] for figure in figures]
    assert titles == ["val/l1 by job", "val/l1 against module.lr", "val/l1 against model", "val/l1"]
    assert figures[0].count("<circle") == 3
    assert "logarithmic" in figures[1]


def test_the_page_can_be_left_out(folder, capsys):
    assert "sweep.html" not in show(folder, capsys, "page=false")[1]
    assert not (folder / "sweep.html").exists()


def test_a_running_job_is_known_by_its_lock(folder, capsys):
    Record("running", None, "val/l1").save(folder / "3")
    with claim(folder / "3" / JOB_LOCK, "x"):
        assert "1 running" in show(folder, capsys)[1]
    assert "job 3 stopped: its process ended without a word" in show(folder, capsys)[1]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"status": "dreaming", "value": "high", "mode": 3}', b"\xff\xfe"]
)
def test_broken_jobs_do_not_hide_the_others(content, folder, capsys):
    (folder / "1" / "job.json").write_bytes(content)
    (folder / "1" / "metrics.jsonl").write_bytes(content)
    (folder / "2" / "job.json").unlink()
    status, said = show(folder, capsys)
    assert status == 0
    assert "best: job 0" in said


def test_a_sweep_that_was_moved_is_found_where_it_is(folder, capsys):
    moved = folder.rename(folder.with_name("moved"))
    assert f"best: job 0, {moved}" in show(moved, capsys)[1]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere", "no such folder"),
        ("sweep/0", "It is a job of the sweep"),
        (".", "There is one below it; the newest is"),
        ("empty", "Give the folder of a sweep"),
        ("run", "It is a single run"),
        ("newer", "another version"),
        ("torn", "damaged"),
        ("short", "lacks something"),
    ],
)
def test_what_is_no_sweep_is_one_sentence(place, says, folder, capsys):
    root = folder.parent
    for name in ("empty", "run", "newer", "torn", "short"):
        (root / name).mkdir()
    for path in (root / "run", root / "sweep" / "0"):
        (path / "config.yaml").write_text("")
    if place == ".":
        assert not list(root.glob("*/*/sweep.json"))
    else:
        write_json(root / "newer" / "sweep.json", {"version": 99})
        (root / "torn" / "sweep.json").write_text('{"version"')
        write_json(root / "short" / "sweep.json", {"version": 1, "jobs": []})
    status, said = show(root / place, capsys)
    assert status == 2
    assert says in said
    assert "Traceback" not in said


def test_a_chart_places_numbers_words_and_a_single_value():
    def places(xs):
        figure = ElementTree.fromstring(dot_chart("t", [Dot(x, float(i), "") for i, x in enumerate(xs)], "x"))
        return [float(circle.get("cx")) for circle in figure.iter("circle")]

    one, two, three = places(["1e-05", "0.0001", "0.001"])
    assert two - one == pytest.approx(three - two)
    one, two, three = places([0, 1, 3])
    assert three - two == pytest.approx(2 * (two - one), abs=0.2)
    assert places(["tiny", "tiny", "live96"])[0] == places(["tiny", "live96"])[0]
    assert len(set(places([3, 3, 3]))) == 1
    assert len(places([Path("a").name, "nan"])) == 2
