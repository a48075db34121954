"""Stops and full disks at bad moments of a run on two ranks: nothing that was learnt is lost, and the run goes on."""

import errno
import os
import signal
import time

import pytest
import torch
from small_ranks import assert_same, finish, ranks, start, steps

# Stands in sitecustomize of the ranks. ANCHOR_TEST_MOMENT=kind:marker:number makes the bad moment and tells of it:
#   fetch       rank 1 waits a minute for its batch of that number
#   validation  rank 0 waits half a second in every batch of a validation
#   bytes       the save of that number ends the process with half of its bytes written
#   full        every save from that number on finds the disk full half way
MOMENT = """
import errno, io, os, signal, sys, threading, time
kind, marker, number = os.environ["ANCHOR_TEST_MOMENT"].split(":")
number, count = int(number), {"n": 0}

def tell():
    open(marker, "a").close()

def is_rank(wanted):
    import torch.distributed  # a process may be started before it is given its rank
    return torch.distributed.is_initialized() and torch.distributed.get_rank() == wanted

def patch():
    if kind == "fetch":
        from torch.utils.data.dataloader import _SingleProcessDataLoaderIter as Iterator
        do = Iterator._next_data
        def slow(self):
            count["n"] += sys.modules["launch.stops"].STOP.is_training
            if count["n"] == number and is_rank(1):
                tell()
                time.sleep(600)
            return do(self)
        Iterator._next_data = slow
    if kind == "validation":
        while not hasattr(sys.modules.get("lightning_modules.syncnet"), "SyncNetModule"):
            time.sleep(0.001)
        module = sys.modules["lightning_modules.syncnet"].SyncNetModule
        validate = module.validation_step
        def slow(self, *arguments):
            if self.global_step and is_rank(0):
                tell()
                time.sleep(0.5)
            return validate(self, *arguments)
        module.validation_step = slow

class Half:
    def __init__(self, file):
        self.file, self.written = file, 0
    def write(self, data):
        self.written += len(data)
        if self.written > 20_000:
            tell()
            if kind == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.file.write(data)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()

def opened(path, *arguments, **named):
    file = do_open(path, *arguments, **named)
    if ".last.ckpt.partial" not in str(path):
        return file
    count["n"] += 1
    return Half(file) if count["n"] == number or (kind == "full" and count["n"] > number) else file

if "launch.worker" in " ".join(sys.orig_argv):
    if kind in ("bytes", "full"):
        do_open, io.open = io.open, opened
    else:
        threading.Thread(target=patch, daemon=True).start()
"""


@pytest.fixture
def moment(tmp_path):
    """``moment(kind, number)``: what a run must find in its environment; ``moment.came`` waits until it is there."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MOMENT)

    def make(kind, number):
        marker = tmp_path / f"{kind}-came"
        return marker, {
            "ANCHOR_TEST_MOMENT": f"{kind}:{marker}:{number}",
            "PYTHONPATH": str(tmp_path / "site"),
        }

    return make


def came(process, marker):
    for _ in range(2400):
        if marker.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("the moment does not come")


@pytest.mark.slow
def test_stops_and_full_disks_at_bad_moments_change_nothing(tmp_path, moment, whole):
    run_dir = tmp_path / "run"
    last = run_dir / "checkpoints" / "last.ckpt"

    marker, variables = moment("fetch", 12)  # rank 1 waits for its twelfth batch, rank 0 for rank 1
    process = start(tmp_path, "run_dir=run", "datamodule.num_workers=0", **variables)
    came(process, marker)
    pids = ranks(process)
    os.kill(process.pid, signal.SIGTERM)
    began = time.monotonic()
    said = finish(process, 143)
    assert time.monotonic() - began < 300, "it did not wait for the batch"
    assert "saved in" in said
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert torch.load(last, weights_only=True)["global_step"] == len(steps(run_dir)) in (10, 11, 12)

    marker, variables = moment("validation", 0)  # of step 20
    process = start(tmp_path, "run_dir=run", "datamodule.num_workers=0", **variables)
    came(process, marker)
    os.kill(ranks(process)[0], signal.SIGTERM)
    said = finish(process, 143)
    assert "saved in" in said
    assert torch.load(last, weights_only=True)["global_step"] == 20

    marker, variables = moment("bytes", 2)
    process = start(tmp_path, "run_dir=run", "datamodule.num_workers=0", **variables)
    said = process.communicate(timeout=600)
    assert process.returncode == 137, said
    assert marker.exists()
    held = torch.load(last, weights_only=True)["global_step"]
    assert 20 < held < 60

    marker, variables = moment("full", 2)
    process = start(tmp_path, "run_dir=run", "datamodule.num_workers=0", **variables)
    said = process.communicate(timeout=600)
    assert marker.exists()
    assert process.returncode == 2, said
    assert os.strerror(errno.ENOSPC).lower() in said[1].lower() or "disk is full" in said[1]
    assert "could not be written" in said[1]
    assert said[1].count("could not be written") == 1, "one rank says it, once"
    assert held < torch.load(last, weights_only=True)["global_step"] < 60, "the save before stands"

    finish(start(tmp_path, "run_dir=run", "datamodule.num_workers=0"))
    assert_same(run_dir, whole)
