"""A rank that is killed: what the tracker wrote is whole, and the run goes on as the same one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb_files import written_runs

WORDS = [
    "experiment=syncnet", "accelerator=cpu2", "run_dir=run", "logger=wandb", "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=1000", "callbacks.last.every_n_train_steps=5", "datamodule.batch_size=12",
    "datamodule.windows_per_clip=3", "datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.seconds=1.2",
    "trainer.max_steps=400",
]  # fmt: skip


def start(folder, *words):
    command = [sys.executable, "-m", "anchor", "train", *WORDS, *words]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def processes(word, folder):
    """Ids of processes whose command holds ``word`` and that work in ``folder``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if word in command and (place / "cwd").resolve() == folder:
                found.append(int(place.name))
        except OSError:
            continue
    return found


def wait_for(what, process=None, seconds=300):
    deadline = time.monotonic() + seconds
    while not what():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps_in(run_dir):
    path = run_dir / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.slow
def test_a_killed_rank_leaves_a_whole_record_and_the_resumed_run_is_the_same(tmp_path):
    run_dir = tmp_path / "run"
    job = start(tmp_path)
    wait_for(lambda: max(steps_in(run_dir), default=0) >= 20 and (run_dir / "checkpoints" / "last.ckpt").is_file(), job)
    (client,) = processes("launch.tracking.client", tmp_path)  # of rank 0 alone
    rank0 = int(Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[1])
    assert rank0 in processes("launch.worker", tmp_path)
    os.kill(rank0, signal.SIGKILL)
    assert job.wait(180) != 0
    job.communicate()
    wait_for(lambda: not processes("launch.tracking.client", tmp_path), seconds=120)
    (first,) = written_runs(run_dir)
    assert first.exit_code == 1
    rows = [row["trainer/step"] for row in first.history if "train/sync_loss" in row]
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) >= 15  # what rank 0 had in its hands went with it
    last = max(rows)
    second = start(tmp_path, f"trainer.max_steps={last + 10}")
    assert second.wait(300) == 0, second.communicate()
    second.communicate()
    assert not processes("launch.tracking", tmp_path)
    parts = written_runs(run_dir)
    assert len(parts) == 2
    assert parts[1].run.run_id == first.run.run_id
    assert parts[1].run.resume
    resumed = [row["trainer/step"] for row in parts[1].history if "train/sync_loss" in row]
    assert resumed == list(range(resumed[0], resumed[-1] + 1))
    assert 5 < resumed[0] <= last + 5
    assert resumed[-1] == last + 10
    assert parts[1].exit_code == 0
