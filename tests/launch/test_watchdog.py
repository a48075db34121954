"""A rank that hangs ends the job with every rank's stacks; the ranks are small programs, so that each can be had."""

import os
import subprocess
import sys
import time

import pytest
from test_agent import ranks  # noqa: F401

from anchor.errors import ConfigError
from launch.watchdog import Limits, Watch
from launch.watchdog.heart import PLACES, RECORD, Beat, Heart, read_beat
from launch.watchdog.watch import describe

ALIVE = """
from launch.watchdog import HEART, Limits, show_stacks_at
show_stacks_at()
HEART.start(Limits(1.5, 60.0))
def in_the_third_batch():
    meet("third", 2)
    HEART.beat(2 - rank, 3)  # rank 0 computes, and rank 1 waits for its loader
"""
WAITS = "def wait_for_the_other():\n    time.sleep(60)\nin_the_third_batch()\nwait_for_the_other()\n"


def test_a_hang_ends_all_with_the_stacks_of_each_and_names_who_is_behind(ranks, capfd):  # noqa: F811
    error = ranks(ALIVE + WAITS, watchdog={"hang_s": 1.5})
    assert error.status == 124
    assert "rank 1 on " in str(error)
    assert "hangs: it waits for its loader or a callback in batch 3" in str(error)
    assert "rank 0 computes in batch 3" in str(error)
    shown = capfd.readouterr().err
    for rank in (0, 1):
        log = (ranks.run_dir / "logs" / f"rank-{rank}.log").read_text()
        assert "wait_for_the_other" in log
        assert "most recent call first" in log
    assert "[rank 1]   File" in shown
    assert shown.count("wait_for_the_other") >= 2


def test_a_suspended_rank_is_woken_for_its_stacks_and_all_start_again(ranks, capfd):  # noqa: F811
    program = (
        ALIVE + "in_the_third_batch()\n"
        "if restart[0] == '0' and rank == 0: os.kill(os.getpid(), signal.SIGSTOP)\n"
        "if restart[0] == '0': time.sleep(60)\n"
        "if rank == 0: done()\n"
    )
    assert ranks(program, max_restarts=1, watchdog={"hang_s": 1.5}) == {"restart": "1/1"}
    shown = capfd.readouterr().err
    assert "rank 0 on " in shown
    assert "it is suspended (SIGSTOP)" in shown
    assert "restart 1 of 1" in shown
    for rank in (0, 1):
        assert "most recent call first" in (ranks.run_dir / "logs" / f"rank-{rank}.log").read_text()


def test_who_beats_or_announces_something_slow_or_is_not_watched_is_left_alone(ranks):  # noqa: F811
    alive = ALIVE.replace("1.5", "3.0")  # twelve beats in that time: a busy machine may leave some out
    beats = "for _ in range(14):\n    HEART.beat(2)\n    time.sleep(0.25)\n"
    slow = "with HEART.slowly('saves'):\n    time.sleep(3.5)\nif rank == 0: done()\n"
    assert ranks(alive + "meet('in', 2)\n" + beats + slow, watchdog={"hang_s": 3.0}) == {"restart": "0/0"}
    silent = "HEART.rest()\ntime.sleep(3.5)\nif rank == 0: done()\n"
    assert ranks(alive + "meet('again', 2)\n" + silent, watchdog={"hang_s": 3.0}) == {"restart": "0/0"}


def test_a_rank_that_never_began_to_beat_has_the_time_of_a_start(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = Watch(Limits(10, 300))
    watch.prepare(0, tmp_path / "heart")
    watch.add(0, os.getpid())
    now[0] += 50
    assert watch.find({0}) is None
    now[0] += 300
    assert "it starts" in watch.find({0}).sentence
    assert watch.find(set()) is None  # it has ended


def test_a_rank_without_room_for_its_signs_is_not_watched(tmp_path):
    watch = Watch(Limits(0.01, 0.01))
    watch.prepare(0, tmp_path / "no folder" / "heart")
    watch.add(0, os.getpid())
    time.sleep(0.05)
    assert watch.find({0}) is None
    assert not watch.is_silent()


ALONE = """
import ctypes, os, pathlib, sys, time
from launch.watchdog import heart
heart.LOOK_S = heart.HELD_S = 0.2
heart.HEART.start(heart.Limits(0.6, 0.6), pathlib.Path(sys.argv[1]))
heart.HEART.beat(3, 7)
def stands_still():
    {how}
stands_still()
"""


@pytest.mark.parametrize(
    ("how", "status"), [("time.sleep(60)", 124), ("ctypes.PyDLL(None).sleep(60)", 1)], ids=["waits", "holds"]
)
def test_without_an_agent_a_rank_watches_itself_also_where_c_holds_the_interpreter(how, status, tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root, "WORLD_SIZE": "2", "RANK": "1"}
    environment.pop("ANCHOR_HEART_FILE", None)
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(how=how), str(tmp_path / "logs" / "rank-1.log")],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert done.returncode == status, done
    assert "stands_still" in done.stderr
    if status == 124:
        assert "rank 1 hangs: it is in its backward pass in batch 7" in done.stderr
        assert "stands_still" in (tmp_path / "logs" / "rank-1.log").read_text()


def test_a_rank_started_by_hand_may_stand_in_a_debugger(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "SLURM_PROCID", "ANCHOR_HEART_FILE"):
        monkeypatch.delenv(name, raising=False)
    heart = Heart()
    monkeypatch.setattr(heart, "_look", lambda log: pytest.fail("it is watched"))
    heart.start(Limits(1, 1))
    time.sleep(0.1)


def test_of_many_ranks_the_hindmost_is_named_and_none_where_all_stand_together():
    beats = {rank: Beat(100.0, 110.0, 12, 3) for rank in range(8)}
    beats[5] = Beat(99.0, 109.0, 12, 2)
    said = describe(beats, set(), 120.0)
    assert said.rank == 5
    assert "rank 0 is in its backward pass in batch 12, and 6 more wait" in said.sentence
    assert "for 21 s" in said.sentence
    del beats[5]
    assert "6 others of this node stand there too" in describe(beats, set(), 120.0).sentence
    assert describe(beats, {7}, 120.0).rank == 7


def test_a_torn_or_missing_sign_is_none(tmp_path):
    path = tmp_path / "heart"
    assert read_beat(path) is None
    path.write_bytes(b"\0" * 7)
    assert read_beat(path) is None
    path.write_bytes(RECORD.pack(1.0, 2.0, 3, len(PLACES)))
    assert read_beat(path) is None
    path.write_bytes(RECORD.pack(1.0, 2.0, 3, 1))
    assert read_beat(path) == Beat(1.0, 2.0, 3, 1)


def test_times_that_cannot_be_are_refused_and_null_watches_nobody():
    for bad in (0, -1, "x", True, float("nan")):
        with pytest.raises(ConfigError, match=r"watchdog\.hang_s="):
            Limits.of({"hang_s": bad})
    assert Limits.of({"hang_s": None}).slow_s == float("inf")
    assert Limits.of({"hang_s": 4000}).slow_s == 4000  # never the shorter of the two
    assert Limits.of(None).hang_s < 1800  # as long as collectives wait


def test_a_worker_answers_sigquit_with_its_stacks_and_goes_on():
    program = (
        "import os, signal, time\nfrom launch.watchdog import show_stacks_at\nshow_stacks_at()\n"
        "os.kill(os.getpid(), signal.SIGQUIT)\nprint('goes on')\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert "most recent call first" in done.stderr
