"""How the agent starts, stops and starts again; the ranks are small programs, so that each of their ends can be had."""

import os
import pty
import signal
import threading
import time

import pytest

from launch import agent, job
from launch.accelerators import Machine
from launch.failures import Failure, find_first
from launch.job import JobError, run_job
from launch.output import RankOutput, log_path
from launch.rendezvous import Nodes

HEAD = """
import json, os, pathlib, signal, subprocess, sys, time, traceback
sys.path.insert(0, {root!r})
from launch.failures import report
rank, restart = int(os.environ["RANK"]), os.environ["ANCHOR_RESTART"]
run_dir = pathlib.Path(sys.argv[1]).parent
def meet(name, count):
    (run_dir / f"{{name}}-{{rank}}").touch()
    while len(list(run_dir.glob(f"{{name}}-*"))) < count:
        time.sleep(0.01)
def done():
    (run_dir / "result.json").write_text(json.dumps({{"restart": restart}}))
"""


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Run a program as two ranks; returns what the run returned or raised."""
    monkeypatch.setattr(agent, "GRACE_S", 0.4)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

    def start(program, count=2, spares=None, watchdog=None, **options):
        (tmp_path / "rank.py").write_text(HEAD.format(root=root) + program)
        monkeypatch.setattr(job, "WORKER", (str(tmp_path / "rank.py"),))
        machine = Machine("cpu", count, 1, "32-true")
        try:
            return run_job(tmp_path / "run" / "config.yaml", machine, options, spares, watchdog)
        except JobError as error:
            return error

    start.run_dir = tmp_path / "run"
    return start


def are_gone(pids, wait_s=60.0):
    """Whether the processes end; what was killed may take a moment on a busy machine."""

    def is_alive(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    until = time.monotonic() + wait_s
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def signal_when(path, *numbers, pause_s=0.3):
    """Send this process ``numbers``, one after the other, once ``path`` is there."""

    def send():
        while not path.exists():
            time.sleep(0.01)
        for number in numbers:
            time.sleep(pause_s)
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_output_is_logged_per_rank_and_other_ranks_are_named(ranks, capfdbinary):
    said = ranks("print(f'hello of {rank}')\nsys.stderr.write('step 1\\rstep 2\\rstep 3\\n')\nif rank == 0: done()\n")
    assert said == {"restart": "0/0"}
    shown = capfdbinary.readouterr()
    assert b"hello of 0\n" in shown.out
    assert b"[rank 1] hello of 1\n" in shown.out
    assert b"[rank 0]" not in shown.out + shown.err
    assert b"step 3\n" in shown.err
    assert b"[rank 1] step 3\n" in shown.err
    for rank in (0, 1):
        log = (ranks.run_dir / "logs" / f"rank-{rank}.log").read_text()
        assert f"hello of {rank}\n" in log
        assert "step 3\n" in log
        assert "step 1" not in log


DIES = """
if rank == 1:
    meet("both", 2)
    try:
        raise RuntimeError("the seed of trouble")
    except RuntimeError:
        report(traceback.format_exc(), 1)
        meet("said", 2)
        sys.exit(1)
meet("both", 2)
while not (run_dir / "said-1").exists():
    time.sleep(0.01)
report("Traceback: what followed\\nRuntimeError: [gloo] Connection closed by peer", 1)
meet("said", 2)
"""


@pytest.mark.parametrize("after", ["sys.exit(1)", "time.sleep(60)", "os.abort()"], ids=["leaves", "hangs", "aborts"])
def test_the_first_failure_is_on_top_and_no_rank_outlives_it(ranks, capfd, after):
    error = ranks(DIES + after)
    assert error.status == 1
    assert "RuntimeError: the seed of trouble" in str(error)
    shown = capfd.readouterr().err
    assert shown.count("the seed of trouble") == 2  # in its source line and as the error, once
    assert "rank 1 on" in shown.split("failed first")[0].splitlines()[-1]
    assert "what followed" not in shown
    if "exit" in after:
        assert shown.index("the seed of trouble") < shown.index("Connection closed by peer")
    assert "what followed" in (ranks.run_dir / "logs" / "rank-0.log").read_text()


def test_a_rank_killed_without_a_word_is_named_with_its_last_output(ranks, capfd):
    error = ranks(
        "print('last words', flush=True)\nmeet('both', 2)\nif rank: os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(0.1); report('RuntimeError: Connection reset by peer', 1); sys.exit(1)"
    )
    assert error.status == 137
    shown = capfd.readouterr().err
    assert "failed first, killed by SIGKILL" in shown
    assert "last words" in shown


def test_a_sentence_is_said_once_whichever_ranks_say_it(ranks, capfd):
    error = ranks("report('module.lr=x is no number.', 2, is_sentence=True); sys.exit(2)", max_restarts=3)
    assert (error.status, str(error)) == (2, "module.lr=x is no number.")
    assert "module.lr" not in capfd.readouterr().err


@pytest.mark.parametrize("status", [75, 143])
def test_ranks_that_saved_and_left_are_not_started_again(ranks, status):
    error = ranks(f"(run_dir / f'started-{{rank}}-{{restart[0]}}').touch(); sys.exit({status})", max_restarts=2)
    assert error.status == status
    assert len(list(ranks.run_dir.glob("started-*"))) == 2


def test_a_death_restarts_all_ranks_as_often_as_was_allowed(ranks, capfd):
    dies = "meet('up' + restart[0], 2)\nif rank == 1 and restart[0] < '{}': os._exit(9)\n"
    said = ranks(dies.format(2) + "if rank == 0: done()", max_restarts=2)
    assert said == {"restart": "2/2"}
    shown = capfd.readouterr().err
    assert "restart 1 of 2" in shown
    assert "restart 2 of 2" in shown
    for path in ranks.run_dir.glob("up*"):
        path.unlink()
    error = ranks(dies.format(3), max_restarts=1)
    assert error.status == 9
    assert len(list(ranks.run_dir.glob("up*"))) == 4


SAVES = """
def leave(number, frame):
    (run_dir / f"got-{rank}-{number}").touch()
    sys.exit({signal.SIGTERM: 143, signal.SIGHUP: 129}.get(number, 75))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1): signal.signal(number, leave)
meet("up", 2)
while True: time.sleep(0.01)
"""


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGINT", 75), ("SIGHUP", 129), ("SIGUSR1", 75)])
def test_a_signal_reaches_every_rank_as_it_is(ranks, number, status):
    number, before = signal.Signals[number], signal.getsignal(signal.SIGINT)
    signal_when(ranks.run_dir / "up-1", number)
    error = ranks(SAVES, max_restarts=2)
    assert error.status == status
    assert "stopped by" in str(error)
    assert sorted(path.name for path in ranks.run_dir.glob("got-*")) == [f"got-{rank}-{int(number)}" for rank in (0, 1)]
    assert signal.getsignal(signal.SIGINT) is before


HANGS = "(run_dir / f'started-{rank}-{restart[0]}').touch()\ntime.sleep(60)\n"


def test_a_signal_before_any_rank_starts_none(ranks, monkeypatch):
    join = Nodes.next_rendezvous

    def join_and_stop(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return join(self)

    monkeypatch.setattr(Nodes, "next_rendezvous", join_and_stop)
    error = ranks(HANGS, stop_timeout_s=2)
    assert (error.status, list(ranks.run_dir.glob("started-*"))) == (143, [])
    assert "stopped by SIGTERM before the first step" in str(error)


def test_a_signal_while_ranks_end_for_a_restart_starts_none_again(ranks, monkeypatch):
    collect = agent.Agent._collect

    def collect_and_stop(self):
        os.kill(os.getpid(), signal.SIGUSR1)
        collect(self)

    monkeypatch.setattr(agent.Agent, "_collect", collect_and_stop)
    dies = "(run_dir / f'started-{rank}-{restart[0]}').touch()\nmeet('up', 2)\nif restart[0] == '0': os._exit(9)\n"
    error = ranks(dies + "time.sleep(60)", max_restarts=1, stop_timeout_s=2)
    assert error.status == 75
    assert "before restart 1" in str(error)
    assert {path.name for path in ranks.run_dir.glob("started-*")} == {"started-0-0", "started-1-0"}


def test_a_signal_while_ranks_are_being_started_reaches_them_all(ranks, monkeypatch):
    start, count = agent.start_process, []

    def start_and_stop(*arguments):
        process = start(*arguments)
        if not count:
            os.kill(os.getpid(), signal.SIGTERM)
        count.append(process)
        return process

    monkeypatch.setattr(agent, "start_process", start_and_stop)
    error = ranks(HANGS, stop_timeout_s=3)
    assert error.status == 143
    assert [process.returncode for process in count] == [-signal.SIGTERM] * 2


def test_a_rank_that_fails_at_a_stop_is_heard(ranks, capfd):
    says = "    if rank: report('Traceback\\nValueError: x', 1); sys.exit(1)\n"
    fails = SAVES.replace("    sys.exit", says + "    sys.exit")
    signal_when(ranks.run_dir / "up-1", signal.SIGTERM)
    error = ranks(fails)
    assert error.status == 1
    assert "rank 1" in str(error)
    assert "Traceback" in capfd.readouterr().err


DEAF = """
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(run_dir / f"pids-{rank}").write_text(f"{os.getpid()} {loader.pid}")
meet("up", 2)
time.sleep(60)
"""


def test_ranks_that_do_not_leave_are_killed_with_their_loaders(ranks):
    signal_when(ranks.run_dir / "up-1", signal.SIGTERM)
    error = ranks(DEAF, stop_timeout_s=1)
    assert error.status == 137
    assert "killed after 1 s" in str(error)
    pids = [int(pid) for path in ranks.run_dir.glob("pids-*") for pid in path.read_text().split()]
    assert len(pids) == 4
    assert are_gone(pids)


def test_a_second_ctrl_c_ends_all_at_once(ranks):
    signal_when(ranks.run_dir / "up-1", signal.SIGINT, signal.SIGINT)
    error = ranks(DEAF, stop_timeout_s=50)
    assert error.status == 130
    pids = [int(pid) for path in ranks.run_dir.glob("pids-*") for pid in path.read_text().split()]
    assert are_gone(pids)


def test_loaders_of_a_dead_rank_do_not_outlive_it(ranks):
    error = ranks(DEAF.rstrip().removesuffix("time.sleep(60)") + "os._exit(3)")
    assert error.status == 3
    pids = [int(pid) for path in ranks.run_dir.glob("pids-*") for pid in path.read_text().split()]
    assert len(pids) == 4
    assert are_gone(pids)


def test_a_progress_line_reaches_a_terminal_as_it_is_drawn(tmp_path):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        output = [RankOutput(rank, log_path(tmp_path, rank), "start") for rank in (0, 1)]
        shown = b""
        for rank, written in ((0, b"step 1"), (0, b"\rstep 2"), (1, b"beside\n"), (0, b"\rstep 3\n")):
            reading, writing = os.pipe()
            os.write(writing, written)
            os.close(writing)
            output[rank].follow(os.fdopen(reading, "rb"), terminal)
            for thread in output[rank]._threads:
                thread.join()
            shown += os.read(ours, 1000)
    assert shown.replace(b"\r\n", b"\n") == b"step 1\rstep 2\r\x1b[K[rank 1] beside\n\rstep 3\n"


def test_submitits_signal_comes_to_it_when_the_ranks_have_saved(ranks):
    left = []
    before = signal.signal(signal.SIGUSR2, lambda *_: left.extend(ranks.run_dir.glob("got-*")))
    signal_when(ranks.run_dir / "up-1", signal.SIGUSR2)
    try:
        error = ranks(SAVES)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert error.status == 75
    assert len(left) == 2


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (Failure(1, "b", -9, 2.0), Failure(0, "a", 1, 1.0, "Traceback ...\nRuntimeError: Connection reset by peer")),
        (Failure(1, "b", 1, 2.0, "ValueError: x"), Failure(0, "a", -6, 1.0)),  # C++ that falls with the others
        (Failure(1, "b", 1, 2.0, "ValueError: x"), Failure(0, "a", 143, 1.0)),
        (Failure(1, "b", 75, 2.0), Failure(0, "a", 1, 1.0, "RuntimeError: ncclRemoteError: a peer has gone")),
    ],
)
def test_who_only_speaks_of_anothers_end_did_not_fail_first(later, earlier):
    assert find_first([earlier, later]) is later
    assert find_first([later, earlier]) is later


def test_what_has_loaded_for_nothing_ends_when_the_ranks_begin(ranks):
    class Unneeded:
        def take(self, *_):
            return None

        def close(self):
            (ranks.run_dir / "closed").touch()

    waits = "until = time.monotonic() + 60\nwhile not (run_dir / 'closed').exists(): assert time.monotonic() < until\n"
    assert ranks(waits + "done()", count=1, spares=Unneeded()) == {"restart": "0/0"}
