"""Signals and kills to real ranks: what they leave, and what the run that goes on makes of it."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from small_ranks import assert_same, finish, ranks, start, steps, wait_for

# Stands in sitecustomize of a worker: ends it as kill -9 does, in the middle of the save that ANCHOR_TEST_KILL names.
KILL = """
import os, signal, sys
where, _, number = os.environ.get("ANCHOR_TEST_KILL", "").partition(":")
if where and "launch.worker" in " ".join(sys.orig_argv):
    count = {"n": 0}
    def wrap(name, matches, after):
        do = getattr(os, name)
        def call(*a, **k):
            hit = matches(a)
            count["n"] += hit
            if hit and count["n"] == int(number) and not after: os.kill(os.getpid(), signal.SIGKILL)
            done = do(*a, **k)
            if hit and count["n"] == int(number) and after: os.kill(os.getpid(), signal.SIGKILL)
            return done
        setattr(os, name, call)
    is_last = lambda a: ".last.ckpt.partial" in str(a[0])
    if where == "sync": wrap("fsync", lambda a: ".last.ckpt.partial" in os.readlink(f"/proc/self/fd/{a[0]}"), False)
    if where == "rename": wrap("replace", is_last, False)
    if where == "renamed": wrap("replace", is_last, True)
"""


@pytest.mark.slow
def test_signals_to_any_rank_or_all_lose_no_step(tmp_path, whole):
    run_dir = tmp_path / "run"
    cases = [
        ((1,), signal.SIGTERM, 143),
        ((0, 1), signal.SIGUSR1, 75),
        ((0,), signal.SIGHUP, 129),
        ((), signal.SIGTERM, 143),
    ]
    for number, (targets, kind, status) in enumerate(cases):
        process = start(tmp_path, "run_dir=run")
        wait_for(process, run_dir, 8 + 12 * number)
        pids = ranks(process)
        assert len(pids) == 2
        for pid in [pids[rank] for rank in targets] or [process.pid]:
            os.kill(pid, kind)
        said = finish(process, status)
        assert "saved in" in said
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
        done = steps(run_dir)
        assert done == list(range(1, len(done) + 1))
        last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] == len(done)
    finish(start(tmp_path, "run_dir=run"))
    assert_same(run_dir, whole)


@pytest.fixture
def memory():
    """A folder of this test's own in the machine's memory."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_kills_in_a_save_and_restarts_by_the_agent_change_nothing(tmp_path, whole, memory):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILL)
    kept = {"PYTHONPATH": str(tmp_path / "site"), "TMPDIR": str(memory)}
    run_dir = tmp_path / "run"
    for where in ("sync:2", "rename:2", "renamed:2"):
        process = start(tmp_path, "run_dir=run", ANCHOR_TEST_KILL=where, **kept)
        said = process.communicate(timeout=600)
        assert process.returncode == 137, said
    assert not list(memory.rglob("*.ckpt"))
    damaged = run_dir / "checkpoints" / "last.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    process = start(tmp_path, "run_dir=run", "launch.max_restarts=1")
    wait_for(process, run_dir, 30)
    os.kill(ranks(process)[1], signal.SIGKILL)
    said = finish(process)
    assert "WARNING" in said
    assert "restart 1 of 1" in said
    assert_same(run_dir, whole)
    names = {path.name for path in (run_dir / "checkpoints").iterdir()}
    assert names == {"last.ckpt", "last-previous.ckpt", "best.ckpt", "last.ckpt.damaged"}
