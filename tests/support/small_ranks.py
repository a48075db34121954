"""A small run on two ranks as a process: start it, wait for its steps, compare what it left."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

WORDS = [
    "experiment=syncnet", "accelerator=cpu2", "callbacks=keys", "datamodule.speakers=4", "datamodule.val_speakers=1",
    "datamodule.batch_size=12", "datamodule.windows_per_clip=3", "datamodule.seconds=2.0", "trainer.max_steps=60",
    "trainer.val_check_interval=20", "callbacks.last.every_n_train_steps=7", "trainer.deterministic=true",
    "model.expert.image_size=32", "model.expert.width=2", "model.expert.embedding_size=8",
]  # fmt: skip


def start(folder, *words, **variables):
    command = [sys.executable, "-m", "anchor", "train", *WORDS, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip


def finish(process, status=0):
    said = process.communicate(timeout=600)
    assert process.returncode == status, said
    assert "Traceback" not in said[1]
    return said[1]


def weights(run_dir):
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    states = [part["state"] for part in last["optimizer_states"]]
    return last["state_dict"], [value for state in states for moments in state.values() for value in moments.values()]


def assert_same(run_dir, whole):
    (net, moments), (whole_net, whole_moments) = weights(run_dir), weights(whole)
    assert all(torch.equal(net[key], value) for key, value in whole_net.items())
    assert all(torch.equal(a, b) for a, b in zip(moments, whole_moments, strict=True))
    result, expected = (json.loads((folder / "result.json").read_text()) for folder in (run_dir, whole))
    for key in ("consumed_keys_digest", "consumed_windows", "metrics", "steps"):
        assert result[key] == expected[key], key
    assert steps(run_dir) == list(range(1, 61))


def steps(run_dir):
    """The steps of rank 0, each of which must be there once."""
    return [json.loads(line)["step"] for line in (run_dir / "keys" / "rank-0.jsonl").read_text().splitlines()]


def wait_for(process, run_dir, step):
    path = run_dir / "keys" / "rank-0.jsonl"
    for _ in range(6000):
        if path.is_file() and len(path.read_text().splitlines()) >= step:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it does not get there")


def ranks(process):
    """The processes of the ranks, in the order in which the agent started them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"launch.worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return sorted(found)
