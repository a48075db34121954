"""A run that is killed goes on with other numbers of ranks and consumes what it would have consumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

WORDS = [
    "experiment=syncnet", "callbacks=keys", "trainer.max_steps=40", "trainer.val_check_interval=20",
    "callbacks.last.every_n_train_steps=3", "datamodule.batch_size=12", "datamodule.windows_per_clip=3",
    "datamodule.speakers=4", "datamodule.val_speakers=1", "datamodule.num_workers=1", "datamodule.seconds=2.0",
]  # fmt: skip


def start(folder, *words):
    command = [sys.executable, "-m", "anchor", "train", *WORDS, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip


def finish(process):
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def steps(folder):
    """The windows of every global batch that the run's ranks wrote down, in the order of steps."""
    batches = {}
    for path in sorted((folder / "keys").glob("rank-*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            batches.setdefault(record["step"], []).extend(record["keys"])
    return batches


def kill_at(process, folder, step):
    """End every process of the run, without a word, once some rank has done ``step`` steps."""
    for _ in range(1200):
        if any(number >= step for number in written(folder)) and (folder / "checkpoints" / "last.ckpt").is_file():
            break  # in the middle of a step, or of a checkpoint
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # hangs as long as a worker or one of its loader processes lives
    before = sorted(written(folder))
    time.sleep(2)
    assert sorted(written(folder)) == before, "a worker outlived its agent"


def written(folder):
    for path in (folder / "keys").glob("rank-*.jsonl"):
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        yield json.loads(lines[-1])["step"] if lines else 0


@pytest.mark.slow
def test_a_run_killed_at_random_steps_consumes_on_other_ranks_what_it_would_have(tmp_path):
    finish(start(tmp_path, "accelerator=cpu", "run_dir=whole"))
    whole = steps(tmp_path / "whole")
    assert sorted(whole) == list(range(1, 41))
    chances = random.Random()
    stops = [chances.randint(4, 12), chances.randint(16, 30)]
    kill_at(start(tmp_path, "accelerator=cpu2", "run_dir=parts"), tmp_path / "parts", stops[0])
    kill_at(start(tmp_path, "accelerator=cpu", "run_dir=parts"), tmp_path / "parts", stops[1])
    finish(start(tmp_path, "accelerator=cpu2", "run_dir=parts"))
    parts = steps(tmp_path / "parts")
    assert sorted(parts) == sorted(whole), stops
    for step, keys in whole.items():
        assert Counter(parts[step]) == Counter(keys), (stops, step)
    epoch = 3 * 46 / 12  # three clips of 50 frames: 11.5 batches, the last one half filled up
    first = [key for step in range(1, 13) for key in whole[step]]
    assert len(first) == len(set(first)) == round(epoch * 12)
