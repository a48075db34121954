"""The processes that share the clips: what they know, and which of them dies with one."""

import os
import signal
import time

from anchor.preprocess import watch
from anchor.preprocess.pool import run_all


def _die_on_two(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def _read_environment(name):
    return os.environ.get(name, "")


def test_workers_know_what_was_set_after_the_first_run(monkeypatch):
    monkeypatch.delenv("ANCHOR_MODELS", raising=False)
    list(run_all(len, ["a", "b"], 2, len))
    monkeypatch.setenv("ANCHOR_MODELS", "/somewhere")
    assert [value for _, value in run_all(_read_environment, ["ANCHOR_MODELS"] * 2, 2, str)] == ["/somewhere"] * 2


def _stand_still_on_two(number):
    if number == 2:
        watch.HANG_S = 0.3
        watch.beat()
        time.sleep(600)
    return number * 10


def test_a_clip_that_stands_still_takes_no_other_with_it():
    assert dict(run_all(_stand_still_on_two, [0, 1, 2, 3], 2, lambda task: -task)) == {0: 0, 1: 10, 2: -2, 3: 30}


def test_a_clip_that_kills_its_process_takes_no_other_with_it():
    results = dict(run_all(_die_on_two, [0, 1, 2, 3, 4], 2, lambda task: -task))
    assert results == {0: 0, 1: 10, 2: -2, 3: 30, 4: 40}
