"""How one process counts signals and time, and what it says of an error that comes after a signal."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from launch import stops, worker
from launch.failures import FAILURE_FILE

# One call into C that lasts: Python's own handler runs only after it.
LONG_CALL = """
import hashlib, os, signal, threading, time
from launch import stops
stops.SAME_S = 0.2
stops.catch_signals()
stops.STOP.is_training = True
def call(rounds):
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    return time.monotonic() - began
rounds = 100_000
while call(rounds) < 0.6:
    rounds *= 2
threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
call(2 * rounds)
print("may save", stops.STOP.status, flush=True)
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.fixture
def stop(monkeypatch):
    """A process that trains; what would end it is kept in a list of ``(status, message)``."""
    ended = []
    monkeypatch.setattr(stops, "STOP", stops.Stop())
    monkeypatch.setattr(stops, "_end", lambda *what: ended.append(what))
    monkeypatch.setattr(worker, "STOP", stops.STOP)
    stops.STOP.is_training = True
    stops.STOP.ended = ended
    return stops.STOP


def test_a_step_that_outlasts_a_signal_does_not_count_it_twice_and_a_second_one_counts():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", LONG_CALL], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout == "may save 143\n", done
    assert done.returncode == 143
    assert "stopped at once" in done.stderr


def test_a_save_that_outlasts_the_time_to_leave_is_no_fault_and_gives_time_to_leave(stop, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop.limit(40)  # 30 s of them for the ranks
    with stop.saving():
        stop.receive(signal.SIGTERM)
        now[0] += 50
        stop.check_time()
        assert not stop.ended
    now[0] += 25
    stop.check_time()
    assert not stop.ended
    now[0] += 10
    stop.check_time()
    ((status, said),) = stop.ended
    assert status == 143
    assert "within 30 s some rank did not leave after a save" in said


def test_a_step_has_what_the_agent_gives_and_a_save_no_less(stop, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop.limit(400)
    stop.receive(signal.SIGUSR1)
    now[0] += 250
    with stop.saving():
        now[0] += 250
        stop.check_time()
    now[0] += 299
    stop.check_time()
    assert not stop.ended
    stop.limit(8)
    stop.check_time()
    assert stop.ended[0][0] == 75


CLOSED = "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:2345"


@pytest.mark.parametrize(
    ("error", "ranks", "status"),
    [
        (RuntimeError(CLOSED), 2, 143),
        (RuntimeError(CLOSED), 1, 1),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 2, 1),
        (ValueError("of the user's own"), 2, 1),
    ],
)
def test_after_a_signal_only_the_echo_of_another_ranks_end_counts_as_a_stop(
    error, ranks, status, stop, monkeypatch, tmp_path, capsys
):
    def fail(path):
        raise error

    monkeypatch.setattr(worker, "run", fail)
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "words.json"))
    (tmp_path / "config.yaml").touch()
    stop.receive(signal.SIGTERM)
    assert worker.main([str(tmp_path / "config.yaml")]) == status
    if status == 1:
        said = json.loads((tmp_path / "words.json").read_text())
        assert said["status"] == 1
        assert f"{type(error).__name__}: {error}" in said["text"]
    else:
        assert "another rank had left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "could not be written (No space left on device)"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "keys/rank-0.jsonl"),
            "keys was removed or moved",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "config.yaml"),
            "Traceback",
        ),  # its folder is there
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/of/a/user"), "Traceback"),
        (OSError(errno.EMFILE, "Too many open files"), "Raise it (ulimit -n 65536)"),
        (RuntimeError("Too many open files. Communication with the workers"), "Raise it (ulimit -n 65536)"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), "Traceback"),
    ],
)
def test_what_the_system_has_not_enough_of_is_one_sentence(error, says, monkeypatch, tmp_path):
    if isinstance(getattr(error, "filename", None), str):
        error.filename = str(tmp_path / error.filename)

    def fail(path):
        raise error

    monkeypatch.setattr(worker, "run", fail)
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "words.json"))
    (tmp_path / "config.yaml").touch()
    assert worker.main([str(tmp_path / "config.yaml")]) == (1 if says == "Traceback" else 2)
    said = json.loads((tmp_path / "words.json").read_text())
    assert said["is_sentence"] == (says != "Traceback")
    assert says in said["text"]
