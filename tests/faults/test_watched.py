"""A rank that hangs, and a batch that is no number on one rank, in real runs on two ranks."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from small_ranks import finish, ranks, start, steps, wait_for


@pytest.mark.slow
def test_nan_on_one_rank_and_a_rank_that_hangs_cost_a_step_and_a_restart(tmp_path, whole, faults):
    variables = faults(
        ["nan", 1, "computes", 9],
        ["sleep", 1, "learnt", 31],  # no batch in which callbacks of all ranks meet
        ["digest", 0, "ends", 0],
        ["digest", 1, "ends", 0],
    )
    said = finish(start(tmp_path, "run_dir=run", "watchdog.hang_s=15", "launch.max_restarts=1", **variables))
    run_dir = tmp_path / "run"
    assert faults.came() == [0, 1, 2, 3]
    assert faults.read(2) == faults.read(3), "the ranks' weights differ"
    assert "hangs: it waits for its loader or a callback in batch 32" in said
    assert said.count("No rank takes this step.") == 1
    (event,) = [json.loads(line) for line in (run_dir / "watchdog.jsonl").read_text().splitlines()]
    assert (event["kind"], event["step"], event["what"]) == ("skipped", 9, "data")
    assert len(event["windows"]) == 1
    for rank in (0, 1):
        log = (run_dir / "logs" / f"rank-{rank}.log").read_text()
        assert "most recent call first" in log
    assert "sitecustomize.py" in log, "the stack does not show where it sleeps"
    assert steps(run_dir) == list(range(1, 61))
    result, expected = (json.loads((folder / "result.json").read_text()) for folder in (run_dir, whole))
    assert result["consumed_keys_digest"] == expected["consumed_keys_digest"]
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in last["state_dict"].values())


@pytest.mark.slow
def test_a_suspended_rank_ends_the_job_and_no_rank_is_left(tmp_path):
    # Long enough that the rank, woken for its stacks, cannot end the run before it is ended.
    process = start(tmp_path, "run_dir=run", "watchdog.hang_s=15", "trainer.max_steps=2000")
    wait_for(process, tmp_path / "run", 8)
    pids = ranks(process)
    os.kill(pids[0], 19)  # SIGSTOP, from outside
    said = process.communicate(timeout=300)
    assert process.returncode == 124, said
    assert "is suspended (SIGSTOP)" in said[1]
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    for rank in (0, 1):
        assert "most recent call first" in (tmp_path / "run" / "logs" / f"rank-{rank}.log").read_text()


@pytest.mark.slow
def test_under_torchrun_ranks_watch_themselves(tmp_path, whole, faults):
    config = yaml.safe_load((whole / "config.yaml").read_text())
    (tmp_path / "run").mkdir()
    text = yaml.safe_dump({**config, "watchdog": {"hang_s": 15, "slow_s": 300}})
    (tmp_path / "run" / "config.yaml").write_text(text.replace(config["run_dir"], str(tmp_path / "run")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "launch.worker", str(tmp_path / "run" / "config.yaml")],
        env={**os.environ, "OMP_NUM_THREADS": "1", **faults(["sleep", 1, "computes", 8])},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode != 0
    assert "rank 1 hangs: it computes in batch 8" in done.stderr
    assert "sitecustomize.py" in (tmp_path / "run" / "logs" / "rank-1.log").read_text()
