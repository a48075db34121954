"""A disk that is full for a while, in the midst of a run that is asked to go on without its checkpoints."""

import os
import resource
import time

import pytest
from small_ranks import assert_same, ranks, start, wait_for

TOO_LITTLE = 15_000  # bytes of a file: less than a checkpoint of this run, more than its records


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while_costs_no_step(tmp_path, whole):
    run_dir = tmp_path / "run"
    process = start(tmp_path, "run_dir=run", "on_failed_save=continue")
    wait_for(process, run_dir, 8)
    held = (run_dir / "checkpoints" / "last.ckpt").read_bytes()
    assert len(held) > TOO_LITTLE
    for pid in ranks(process):  # a file that grows beyond it fails as one on a full disk does, at any write
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (TOO_LITTLE, resource.RLIM_INFINITY))
    log = run_dir / "logs" / "rank-0.log"
    until = time.monotonic() + 300
    while "TRAINING GOES ON WITHOUT IT" not in log.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not list((run_dir / "checkpoints").glob(".*partial*"))
    for pid in ranks(process):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "could not be written" in said[1]
    assert os.path.getsize(run_dir / "checkpoints" / "last.ckpt") > TOO_LITTLE
    assert_same(run_dir, whole)
