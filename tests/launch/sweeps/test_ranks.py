"""Sweeps of real jobs on two ranks each: stopped, killed and gone on with; every rank tells what it trained with."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from launch.worker import hash_config

pytestmark = pytest.mark.slow

SMALL = [
    "experiment=syncnet",
    "accelerator=cpu2",
    "trainer.max_steps=60",
    "trainer.val_check_interval=30",
    "callbacks.last.every_n_train_steps=5",
    "datamodule.speakers=3",
    "datamodule.val_speakers=1",
    "datamodule.clips=1",
    "datamodule.seconds=1.2",
    "datamodule.batch_size=8",
    "datamodule.val_windows_per_clip=2",
]
# What each process hands its optimizer, written down where the optimizer is made: in the worker itself.
WITNESS = """
import os
if "WITNESS" in os.environ:
    import json
    import torch
    init = torch.optim.AdamW.__init__
    def witnessed(self, params, lr=1e-3, **options):
        told = {"rank": int(os.environ["RANK"]), "lr": float(lr), "config": os.environ["ANCHOR_CONFIG_SHA256"]}
        with open(os.environ["WITNESS"], "a") as file:
            file.write(json.dumps(told) + chr(10))
        return init(self, params, lr=lr, **options)
    torch.optim.AdamW.__init__ = witnessed
"""


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "sitecustomize.py").write_text(WITNESS)
    paths = [str(tmp_path / "witness"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "WITNESS": str(tmp_path / "witness.jsonl"),
    }


def start(words, tmp_path, environment):
    command = [sys.executable, "-m", "anchor", "train", "-m", *SMALL, "hydra.sweep.dir=sweep", *words]
    return subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 240
    while not path.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def witnessed(tmp_path):
    """``{job: {rank: lr}}``; a job that was started twice must say the same twice."""
    jobs = {hash_config(path): path.parent.name for path in (tmp_path / "sweep").glob("*/config.yaml")}
    told = {}
    for line in (tmp_path / "witness.jsonl").read_text().splitlines():
        record = json.loads(line)
        ranks = told.setdefault(jobs[record["config"]], {})
        assert ranks.setdefault(record["rank"], record["lr"]) == record["lr"]
    return told


def asked(tmp_path):
    jobs = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["jobs"]
    return {str(job["number"]): dict(text.partition("=")[::2] for text in job["overrides"]) for job in jobs}


def test_two_by_two_on_two_ranks_stopped_and_gone_on_with(tmp_path, environment):
    words = ["module.lr=1e-3,3e-3", "seed=0,1"]
    process = start(words, tmp_path, environment)
    wait_for(tmp_path / "sweep" / "1" / "metrics.jsonl", process)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "4 jobs, 1 done, 1 stopped, 2 waiting" in out
    assert "job 1 stopped: by SIGTERM" in out
    assert re.search(r"  1 +stopped .*\b\d+ +\d+\.\d +0.001 +1$", out, re.M), out  # with its steps and seconds
    assert "hydra.sweep.dir=sweep goes on" in err
    before = (tmp_path / "sweep" / "0" / "result.json").stat().st_mtime_ns
    process = start(words, tmp_path, environment)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert re.search(r"going on from .*sweep/1/", err)
    assert (tmp_path / "sweep" / "0" / "result.json").stat().st_mtime_ns == before
    assert "4 jobs, 4 done; by val/pair_accuracy, highest first" in out
    rows = [line.split() for line in out.splitlines() if re.match(r"  \d+ +done", line)]
    assert sorted((row[0], row[4], *row[6:]) for row in rows) == [
        ("0", "60", "0.001", "0"),
        ("1", "60", "0.001", "1"),
        ("2", "60", "0.003", "0"),
        ("3", "60", "0.003", "1"),
    ]
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert witnessed(tmp_path) == {
        job: dict.fromkeys((0, 1), float(v["module.lr"])) for job, v in asked(tmp_path).items()
    }


def test_a_search_gives_every_rank_the_same_and_survives_a_kill(tmp_path, environment):
    pytest.importorskip("optuna", reason="the search needs optuna")
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "module.lr=tag(log,interval(1e-4,1e-2))"]
    process = start(words, tmp_path, environment)
    wait_for(tmp_path / "sweep" / "1" / "metrics.jsonl", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    first = asked(tmp_path)
    process = start(words, tmp_path, environment)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "3 jobs, 3 done" in out
    now = asked(tmp_path)
    assert {job: now[job] for job in first} == first
    lrs = {job: float(values["module.lr"]) for job, values in now.items()}
    assert len(set(lrs.values())) == 3
    assert witnessed(tmp_path) == {job: dict.fromkeys((0, 1), pytest.approx(lr)) for job, lr in lrs.items()}
    ids = {
        re.search(r"^sweep_id: (.*)$", (tmp_path / "sweep" / job / "config.yaml").read_text(), re.M)[1] for job in now
    }
    assert len(ids) == 1
