import json
import sys
from pathlib import Path

import pytest

from anchor.__main__ import main


class FakeRuns:
    """Stands in for the training of a job, and for nothing else: Hydra, the sweeper and all files are the real ones."""

    def __init__(self):
        self.started = []
        self.behave = {}  # number of a job: what is called before it trains

    def __call__(self, config):
        number = config.sweep_job
        self.started.append(number)
        if number in self.behave:
            self.behave[number](config)
        lr = float(config.module.lr)
        scores = [abs(lr - 0.01) + 0.5, abs(lr - 0.01)]
        lines = [
            {"step": 2 * (i + 1), "epoch": 0, "seconds": i + 0.5, "val/l1": score, "train/l1": score + 0.1}
            for i, score in enumerate(scores)
        ]
        folder = Path(config.run_dir)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "checkpoints").mkdir(exist_ok=True)
        for name in ("best.ckpt", "last.ckpt"):
            (folder / "checkpoints" / name).write_bytes(b"")
        return scores[-1]


@pytest.fixture
def runs(monkeypatch, tmp_path):
    fake = FakeRuns()
    monkeypatch.setattr("launch.cli._run", fake)
    monkeypatch.setattr(sys, "argv", ["anchor"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which the command changes for its process
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def sweep(runs):
    """``sweep(*words)``: the status of `anchor train -m ...` in a folder of its own, in ``sweep/``."""

    def run(*words, folder="sweep", experiment="generator"):
        folders = [] if folder is None else [f"hydra.sweep.dir='{folder}'"]
        return main(["train", "-m", f"experiment={experiment}", "accelerator=cpu", *folders, *words])

    return run
