"""An evaluation in wandb: numbers, one table, the report and films with sound, offline."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
from wandb_files import written_runs

import launch.evaluation
from anchor.arguments import parse_arguments
from anchor.errors import ConfigError
from anchor.evaluation import evaluate as score
from anchor.media.writer import write_video

RECORD = {
    "stage": "quality", "checkpoint": "q.ckpt", "expert": None, "data": "d", "split": "val", "seed": 0,
    "protocols": ["self"], "scores": {"self/mouth_psnr": 25.5, "self/jitter_ratio": 0.9},
    "compared": {"base": {"checkpoint": "b.ckpt", "scores": {"self/mouth_psnr": 23.0}}},
    "films": [{"file": "films/00.mp4", "title": "a, own speech", "panels": "real, ours, base"}],
}  # fmt: skip


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "report"
    rng = np.random.default_rng(0)
    write_video(folder / "films" / "00.mp4", rng.integers(0, 256, (5, 64, 64, 3), np.uint8), audio=np.zeros(3200))
    (folder / "scores.json").write_text(json.dumps(RECORD))
    (folder / "report.html").write_text("<!doctype html><p>report</p>")
    return folder


def write(out, folder, how):
    words = [sys.executable, "-m", "launch.tracking.evaluation", str(out), str(folder), how, "anchor"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_evaluation_is_a_run_of_its_own_or_joins_one(out, tmp_path):
    write(out, out, "true")
    (run,) = written_runs(out)
    last = run.history[-1]
    assert last["evaluate/self/mouth_psnr"] == 25.5
    assert last["evaluate/base/self/mouth_psnr"] == 23.0
    assert last["evaluate/report._type"] == "html-file"
    assert last["evaluate/table._type"] == "table-file"
    (part,) = (out / "wandb").glob("offline-run-*")
    assert [path.suffix for path in (part / "files" / "media" / "videos").rglob("*") if path.is_file()] == [".mp4"]
    (out / "metrics.jsonl").write_text('{"step": 40, "train/l1": 1.0}\n')
    write(out, out, "run")
    parts = sorted((out / "wandb").glob("offline-run-*"))
    assert len({part.name.rpartition("-")[2] for part in parts}) == 1  # one run, two parts
    assert written_runs(out)[-1].history[-1]["trainer/step"] == 40


def test_the_command_has_the_keys_of_the_function_and_its_own():
    keys = list(inspect.signature(launch.evaluation.evaluate).parameters)
    assert keys == [*inspect.signature(score).parameters, "wandb", "project"]
    given = parse_arguments(launch.evaluation.evaluate, ["data=x", "out=y", "wandb=run", "compare=base=p,tuned=q"])
    assert given["wandb"] == "run"
    assert given["compare"] == ("base=p", "tuned=q")


def test_a_run_that_was_not_tracked_is_said_before_anything_is_scored(tmp_path):
    for words, sentence in ((), "give runs="), ((tmp_path,), "was not tracked. Train with logger=wandb"):
        with pytest.raises(ConfigError, match=sentence):
            launch.evaluation.evaluate(data="nowhere", out=tmp_path / "out", runs=words, wandb="run")
    assert not (tmp_path / "out").exists()
