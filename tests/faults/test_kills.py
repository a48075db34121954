"""Ranks and loaders killed at any place of a step, twice in a row and while they go on: nothing is lost."""

import os
import time

import pytest
from small_ranks import assert_same, finish, ranks, start, wait_for

FED = ["datamodule.num_workers=1", "datamodule.prefetch=4"]  # the run to compare with loads in the rank itself


@pytest.mark.slow
def test_kills_anywhere_lose_nothing_and_leave_nobody(tmp_path, whole, faults):
    process = start(tmp_path, "run_dir=run", *FED, **faults(["kill", 1, "gradients", 9]))
    wait_for(process, tmp_path / "run", 1)
    pids = ranks(process)
    said = process.communicate(timeout=600)
    assert process.returncode == 137, said
    assert "rank 1 on " in said[1]
    assert "killed by SIGKILL" in said[1]
    until = time.monotonic() + 120
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < until, "a rank outlives the job"
        time.sleep(0.1)

    moments = [
        ["kill", 1, "resumes", 0],  # at once, where it goes on after the first
        ["kill", 0, "computes", 12],
        ["loader", 0, "computes", 19],
        ["kill", 0, "learnt", 24],
        ["kill", 1, "learnt", 33],
        ["kill", 1, "computes", 41],  # the first batch after a validation
        ["kill", 0, "gradients", 50],
    ]
    process = start(tmp_path, "run_dir=run", *FED, f"launch.max_restarts={len(moments)}", **faults(*moments))
    said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert faults.came() == list(range(len(moments)))
    assert f"restart {len(moments)} of {len(moments)} goes on" in said[1]
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_loaders_and_their_queues_change_no_bit(tmp_path, whole):
    finish(start(tmp_path, "run_dir=run", "datamodule.num_workers=2", "datamodule.prefetch=1"))
    assert_same(tmp_path / "run", whole)
