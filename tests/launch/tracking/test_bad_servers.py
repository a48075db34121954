"""A server that refuses, hangs or dies changes neither the steps nor the weights of a run."""

import json
import time

import pytest
import torch
from wandb_files import written_runs
from wandb_server import WandbStandIn, closed_port, silent_server

from launch.locks import is_held

WORDS = ("trainer.max_steps=6", "trainer.val_check_interval=3", "callbacks.record.every_n_steps=1")
SECRET = "local-5ecr3t5ecr3t5ecr3t5ecr3t5ecr3t5ecr3t5ecr"


def outcome(run_dir):
    """What training did: its record without the clock, and its weights."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines], checkpoint["state_dict"]


def wait_for_the_sender(run_dir):
    """The process that sends must end by itself."""
    deadline = time.monotonic() + 240
    while is_held(run_dir / "wandb" / "sync.lock"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def all_text(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_no_server_changes_a_run(composed, start, tmp_path, monkeypatch, capfd):
    start(composed("generator", *WORDS, run_dir=tmp_path / "csv"))
    lines, weights = outcome(tmp_path / "csv")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    everything = ""
    with silent_server() as silent, WandbStandIn(last=6, key=SECRET) as dying, WandbStandIn(key=SECRET) as well:
        servers = {"refusing": closed_port(), "silent": silent, "dying": dying.url, "well": well.url}
        for name, url in servers.items():
            monkeypatch.setenv("WANDB_BASE_URL", url)
            monkeypatch.setattr("launch.tracking.logger.ANSWER_S", 2.0 if name == "silent" else 60.0)
            words = ["logger=wandb", "logger.gradients=true", "logger.gradients_every=2", "logger.sync_patience_s=8"]
            start(composed("generator", *WORDS, *words, run_dir=tmp_path / name))
            said = capfd.readouterr().err
            everything += said
            if name != "dying":  # when it dies depends on how quick the client is
                assert said.count("The run is tracked offline") == (name != "well")
                assert (f"`anchor track sync {tmp_path / name}`" in said) == (name != "well")
            found_lines, found_weights = outcome(tmp_path / name)
            assert found_lines == lines, name
            assert all(torch.equal(found_weights[key], value) for key, value in weights.items()), name
            (part,) = written_runs(tmp_path / name)
            assert part.exit_code == 0
            assert [row["trainer/step"] for row in part.history if "val/l1" in row] == [3, 6]
        for name in servers:
            wait_for_the_sender(tmp_path / name)
            assert bool(list((tmp_path / name).glob("wandb/*/sent-by-anchor"))) == (name == "well")
        assert SECRET.encode() not in all_text(tmp_path)  # the client's own logs, below HOME, included
        (sent,) = well.runs.values()
        assert [row["trainer/step"] for row in sent["history"].values() if "val/l1" in row] == [3, 6]
        assert len(dying.requests) >= 1
    said = capfd.readouterr()
    assert SECRET not in everything + said.err + said.out


@pytest.mark.slow
def test_a_tracker_that_hangs_or_dies_costs_a_run_its_patience_at_most(composed, start, tmp_path, monkeypatch, capfd):
    config = composed("syncnet", "trainer.max_steps=3", "logger=wandb", "logger.patience_s=1.5")
    for module, says in {"hanging_client": "did not finish within 1.5 s", "dying_client": "its process ended"}.items():
        monkeypatch.setattr("launch.tracking.feed.CLIENT", module)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (tmp_path / f"{module}.py").write_text("import time\ntime.sleep(60)" if "hanging" in module else "1 / 0")
        began = time.monotonic()
        assert start({**config, "run_dir": str(tmp_path / module)})["steps"] == 3
        assert time.monotonic() - began < 200
        said = capfd.readouterr().err
        assert said.count("wandb tracking is off") == 1
        assert says in said
        assert "Traceback" not in said
