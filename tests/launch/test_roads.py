"""Every road to a run ends at the same weights: two cards, two nodes, torchrun by hand, a rank that died on the way."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import torch
import yaml

pytestmark = pytest.mark.slow

WORDS = [
    "experiment=syncnet", "callbacks=keys", "trainer.max_steps=12", "trainer.val_check_interval=12", "logger=none",
    "callbacks.last.every_n_train_steps=3", "datamodule.batch_size=8", "datamodule.speakers=4",
    "datamodule.val_speakers=1", "datamodule.num_workers=0", "datamodule.seconds=2.0", "accelerator=cpu",
]  # fmt: skip


class Marked:
    """A command whose processes, however far down, can be found by a variable of their environment."""

    def __init__(self, folder, *command):
        self.mark = f"ANCHOR_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", name: value}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip

    def finish(self, status=0):
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == status, out + err
        until = time.monotonic() + 10
        while self.survivors() and time.monotonic() < until:
            time.sleep(0.1)
        assert not self.survivors()
        return out + err

    def survivors(self):
        """What still runs: process id to its command line."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found


def train(folder, *words):
    return Marked(folder, "anchor", "train", *WORDS, *words)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def weights(run_dir):
    """SHA-256 over the bits of all weights, and the last step."""
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    whole = hashlib.sha256()
    for name, tensor in sorted(checkpoint["state_dict"].items()):
        whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return checkpoint["global_step"], whole.hexdigest()


@pytest.fixture(scope="module")
def two_cards(tmp_path_factory):
    """The folder in which a run on two cards of one node lies as ``run``, and its weights."""
    folder = tmp_path_factory.mktemp("roads")
    train(folder, "accelerator.devices=2", "run_dir=run").finish()
    return folder, weights(folder / "run")


def test_two_nodes_are_one_run(two_cards):
    folder, expected = two_cards
    nodes = ["accelerator.nodes=2", f"launch.rendezvous=127.0.0.1:{free_port()}", "run_dir=nodes"]
    for process in [train(folder, *nodes) for _ in range(2)]:
        assert "syncnet done" in process.finish()
    assert weights(folder / "nodes") == expected
    assert (folder / "nodes" / "logs" / "rank-1.log").is_file()


def test_a_killed_rank_is_started_again_and_nothing_is_lost(two_cards):
    folder, expected = two_cards
    process = train(folder, "accelerator.devices=2", "run_dir=killed", "launch.max_restarts=1")
    log = folder / "killed" / "keys" / "rank-1.jsonl"
    until = time.monotonic() + 200
    while not (log.is_file() and log.read_text().count("\n") >= 5) and time.monotonic() < until:
        time.sleep(0.02)
    ranks = [pid for pid, command in process.survivors().items() if "launch.worker" in command]
    os.kill(max(ranks), signal.SIGKILL)
    said = process.finish()
    assert "restart 1 of 1" in said
    assert "going on from" in said
    assert weights(folder / "killed") == expected


def test_torchrun_by_hand_is_the_same_run(two_cards):
    folder, expected = two_cards
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    (folder / "by-hand").mkdir()
    text = (folder / "run" / "config.yaml").read_text().replace(config["run_dir"], str(folder / "by-hand"))
    (folder / "by-hand" / "config.yaml").write_text(text)
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node")
    Marked(folder, *torchrun, "2", "-m", "launch.worker", "by-hand/config.yaml").finish()
    assert weights(folder / "by-hand") == expected


def test_as_many_ranks_as_the_configuration_is_for(two_cards):
    folder, _ = two_cards
    text = (folder / "run" / "config.yaml").read_text()
    (folder / "one.yaml").write_text(text.replace("devices: 2", "devices: 1"))
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    said = Marked(folder, *torchrun, "-m", "launch.worker", "one.yaml").finish(status=1)
    assert said.count("2 ranks were started, 2 on this node, and the configuration is for 1, 1 on each node") == 1


def test_another_configuration_on_one_rank_is_refused_before_anything_is_built(two_cards):
    folder, _ = two_cards
    text = (folder / "run" / "config.yaml").read_text()
    for rank in (0, 1):
        (folder / f"config-{rank}.yaml").write_text(text.replace("seed: 0", f"seed: {rank}"))
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
    command = f"exec {sys.executable} -m launch.worker config-$RANK.yaml"
    said = Marked(folder, *torchrun, "sh", "-c", command).finish(status=1)
    assert said.count("composed another configuration: ") == 1
    assert "rank 1 on" in said
    assert "seed is 1 instead of 0" in said
    assert "MASTER_PORT" not in said


def test_a_port_in_use_by_hand_is_one_sentence(two_cards):
    folder, _ = two_cards
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = ["MASTER_ADDR=127.0.0.1", f"MASTER_PORT={other.getsockname()[1]}"]
        words = ["env", *place, "RANK=0", "WORLD_SIZE=2", sys.executable, "-m", "launch.worker", "run/config.yaml"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "The port is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_input_leaves_no_rank_that_had_begun_to_load(tmp_path):
    process = train(tmp_path, "accelerator.devices=2", "datamodule.batch_size=3", "run_dir=run")
    assert "Traceback" not in process.finish(status=2)


def test_a_job_of_submitit_is_a_run_of_ours(two_cards):
    folder, expected = two_cards
    words = ["hydra/launcher=submitit_local", "accelerator.devices=2", "hydra.sweep.dir=submitted"]
    said = Marked(folder, "anchor", "train", "-m", *WORDS, *words, "hydra.launcher.timeout_min=5").finish()
    assert weights(folder / "submitted" / "0") == expected, said
    assert json.loads((folder / "submitted" / "0" / "result.json").read_text())["steps"] == 12
