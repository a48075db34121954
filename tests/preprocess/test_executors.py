import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from anchor.errors import AnchorError, ConfigError, FaceError, ShardError
from anchor.preprocess import cards, cluster, on_ray, pool, preprocess, watch
from anchor.preprocess.pool import Progress, run_all
from anchor.shards import ShardSet

ROOT = Path(__file__).resolve().parents[2]


def refuse(task):
    return "refused"


def note_and(task):
    """Write down in ``folder`` that task ``number`` begins, then do ``what``."""
    folder, number, what = task
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    begun = len(list(folder.glob(f"{number}-*")))
    if what == "die" or (what == "die once" and begun == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait to be killed" and begun == 1:
        time.sleep(600)
    if what == "hang":
        watch.HANG_S = 0.3
        watch.beat()
        time.sleep(600)
    return 10 * number


def times_begun(folder, number):
    return len(list(folder.glob(f"{number}-*")))


def kill_from_outside(folder, number):
    """Kill the process that does this task, as soon as there is one."""
    deadline = time.monotonic() + 60
    while not times_begun(folder, number) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int(next(folder.glob(f"{number}-*")).name.split("-")[1]), signal.SIGKILL)


def test_a_clip_whose_process_is_killed_from_outside_is_done_again_and_no_other(tmp_path):
    tasks = [(tmp_path, i, "wait to be killed" if i == 1 else "work") for i in range(5)]
    killer = threading.Thread(target=kill_from_outside, args=(tmp_path, 1))
    killer.start()
    results = dict(run_all(note_and, tasks, 2, refuse))
    killer.join()
    assert results == {i: 10 * i for i in range(5)}
    assert [times_begun(tmp_path, i) for i in range(5)] == [1, 2, 1, 1, 1]


def test_only_the_clip_that_kills_two_processes_is_refused(tmp_path):
    what = {1: "die", 3: "die once"}
    results = dict(run_all(note_and, [(tmp_path, i, what.get(i, "work")) for i in range(6)], 2, refuse))
    assert results == {0: 0, 1: "refused", 2: 20, 3: 30, 4: 40, 5: 50}
    assert [times_begun(tmp_path, i) for i in range(6)] == [1, 2, 1, 2, 1, 1]


def test_one_worker_is_watched_as_well(tmp_path):
    tasks = [(tmp_path, i, "hang" if i == 0 else "work") for i in range(2)]
    assert dict(run_all(note_and, tasks, 1, refuse)) == {0: "refused", 1: 10}


def read_number(folder):
    (folder / str(cards._number)).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:  # so that no worker can take both
        time.sleep(0.02)
    return cards._number


def test_workers_are_numbered(tmp_path):
    assert sorted(number for _, number in run_all(read_number, [tmp_path, tmp_path], 2, refuse)) == [0, 1]


def test_leaving_early_ends_the_workers(tmp_path):
    tasks = [(tmp_path, i, "wait to be killed" if i else "work") for i in range(2)]
    with contextlib.closing(run_all(note_and, tasks, 2, refuse)) as results:
        assert next(results) == (0, 0)
        while not times_begun(tmp_path, 1):
            time.sleep(0.02)
    process = int(next(tmp_path.glob("1-*")).name.split("-")[1])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_workers_take_the_cards_in_turn(monkeypatch):
    import torch

    monkeypatch.setattr(cards, "resolve_device", lambda name: torch.device("cuda" if name == "auto" else name))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    for number in range(3):
        monkeypatch.setattr(cards, "_number", number)
        taken.append([cards.own_card(device) for device in ("cuda", "auto", "cpu", "mlu:3")])
    assert taken == [[f"cuda:{number}", f"cuda:{number}", "cpu", "mlu:3"] for number in (0, 1, 0)]


def test_progress_says_rate_real_time_and_time_left(monkeypatch):
    now = 100.0
    monkeypatch.setattr(pool.time, "monotonic", lambda: now)
    said = io.StringIO()
    progress = Progress(400, said)
    now = 120.0
    progress.show(100, 3650)
    assert said.getvalue() == "preprocess: 100/400 clips, 182 frames/s, 7.3x real time, 60 s left\n"
    progress.show(101, 3700)  # too soon for another line
    assert said.getvalue().count("\n") == 1
    now = 100.0 + 86_400
    progress.show(101, 3700)
    assert said.getvalue().endswith("3.0 days left\n")


def test_a_missing_ray_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'virtual-anchor\[ray\]'"):
        list(on_ray.run_all_on_ray(str, [1], 1, refuse, tmp_path, list))


def test_an_executor_that_is_missing_or_unknown_is_said_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "bad.mp4").write_text("no video")
    for executor, said in (("ray", "pip install"), ("slurm", "executor=slurm is not a choice")):
        with pytest.raises(ConfigError, match=said):
            preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out", executor=executor)


def test_the_address_of_a_client_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="ray://head:10001"):
        cluster._join(None)


class Resources:
    """Of a cluster that is not there."""

    def __init__(self, **resources):
        self._resources = resources

    def cluster_resources(self):
        return self._resources


def test_a_card_is_asked_for_where_the_cluster_has_one():
    gpus, mlus, none = Resources(CPU=8.0, GPU=2.0), Resources(CPU=8.0, MLU=8.0), Resources(CPU=8.0)
    share = on_ray.CARD_SHARE
    assert on_ray._needs(gpus, "cuda") == on_ray._needs(gpus, "auto") == {"num_gpus": share}
    assert on_ray._needs(mlus, "mlu") == on_ray._needs(mlus, "auto") == {"resources": {"MLU": share}}
    assert on_ray._needs(gpus, "cpu") == on_ray._needs(none, "auto") == {}
    for device in ("cuda", "mlu"):
        with pytest.raises(ConfigError, match=f"faces.device={device}: the Ray cluster has no"):
            on_ray._needs(none, device)


def test_no_more_tasks_are_handed_out_than_there_is_room_for():
    assert on_ray._Room(Resources(CPU=8.0), 3).size() == 3
    assert on_ray._Room(Resources(CPU=8.0), 0).size() == 16
    assert on_ray._Room(Resources(), 0).size() == 2  # a cluster that grows when it is asked for something


def test_a_node_says_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SEEN_S", 0.0)

    def no_model():
        raise FaceError("detector=yunet needs its model.")

    asked, answer = tmp_path / "probe-1", tmp_path / "probe-1-node"
    assert "does not see" in str(cluster._probe(asked, answer, list, {}))
    asked.write_text("probe-1")
    said = cluster._probe(asked, answer, no_model, {})
    assert isinstance(said, FaceError)
    assert "detector=yunet needs its model." in str(said)
    assert cluster._probe(asked, answer, list, {}) is None
    assert answer.read_text() == "probe-1"
    assert "may not write" in str(cluster._probe(asked, tmp_path / "none" / "answer", list, {}))


def ray_processes():
    """Everything of Ray that runs on this machine."""
    lines = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    names = ("raylet", "gcs_server", "ray::", "ray_host.py")
    return {line.strip() for line in lines if any(name in line for name in names)}


@pytest.fixture
def no_ray_stays(monkeypatch):
    """A cluster of its own, of which no process stays behind."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{Path(__file__).parent}")  # functions of this file are sent
    before = ray_processes()
    yield
    deadline = time.monotonic() + 30
    while (after := ray_processes() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not after


@pytest.mark.slow
def test_ray_does_a_killed_workers_clip_again_and_refuses_it_the_second_time(tmp_path, no_ray_stays, capfd):
    begun, shared = tmp_path / "begun", tmp_path / "shared"
    begun.mkdir()
    shared.mkdir()
    what = {1: "die", 3: "die once", 4: "hang"}
    tasks = [(begun, i, what.get(i, "work")) for i in range(7)]
    before = signal.getsignal(signal.SIGTERM)
    results = dict(on_ray.run_all_on_ray(note_and, tasks, 2, refuse, shared, list))
    assert results == {0: 0, 1: "refused", 2: 20, 3: 30, 4: "refused", 5: 50, 6: 60}
    assert [times_begun(begun, i) for i in range(7)] == [1, 2, 1, 2, 2, 1, 1]
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(shared.iterdir()) == []
    printed = capfd.readouterr()
    assert printed.out == ""  # and nothing of Ray's own
    assert printed.err == "preprocess: ray with 1 node, 2 cores\n"


@pytest.mark.slow
def test_ray_passes_on_what_a_clip_raises(tmp_path, no_ray_stays):
    with pytest.raises(ShardError, match="the disk is full"):
        list(on_ray.run_all_on_ray(raise_sentence, [1, 2, 3], 2, refuse, tmp_path, list))


def raise_sentence(task):
    raise ShardError("the disk is full")


def shard_sums(out):
    return [(shard["name"], shard["sha256"]) for shard in ShardSet(out).manifest["shards"]]


@pytest.mark.slow
def test_ray_and_local_write_the_same_bytes(tmp_path, flashing, no_models, no_ray_stays, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    for i in range(4):
        flashing(source / f"clip{i}.mp4", seconds=1.2 + 0.4 * i)
    (source / "bad.mp4").write_text("no video")
    arguments = [f"source={source}", "image_size=64", "duplicates=keep", "workers=2", "detector=haar"]
    for out, executor in (("there", "ray"), ("here", "local")):
        command = [sys.executable, "-m", "anchor", "preprocess", *arguments, f"out={out}", f"executor={executor}"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert shard_sums("there") == shard_sums("here")
    there, here = (ShardSet(out).manifest["sources"] for out in ("there", "here"))
    assert there == here
    assert (there["kept"], there["refused"]) == (4, 1)
    reasons = [json.loads(Path(out, "report.json").read_text())["clips"][0]["reason"] for out in ("there", "here")]
    assert reasons[0] == reasons[1]  # refused in the same words


@pytest.mark.slow
def test_a_node_that_cannot_take_part_is_named_before_any_clip(tmp_path, no_ray_stays):
    with pytest.raises(AnchorError, match=r"Node [\d.]+ cannot take part: on \S+ detector=yunet needs its model"):
        list(on_ray.run_all_on_ray(str, [1, 2], 2, refuse, tmp_path, no_model_there))


def no_model_there():
    raise FaceError("detector=yunet needs its model.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "to"), [(signal.SIGINT, "the group"), (signal.SIGTERM, "the command"), (signal.SIGKILL, "the command")]
)
def test_a_stopped_run_on_ray_goes_on(tmp_path, flashing, no_models, no_ray_stays, end, to):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(6):
        flashing(source / f"clip{i}.mp4", seconds=3)
    command = [sys.executable, "-m", "anchor", "preprocess", f"source={source}", f"out={tmp_path / 'out'}"]
    command += ["workers=2", "duplicates=keep", "image_size=64", "preprocess.executor=ray"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob(".out.work/clips/*/result.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    if to == "the group":
        os.killpg(process.pid, end)  # as Ctrl-C in a terminal
    else:
        os.kill(process.pid, end)
    said, _ = process.communicate(timeout=60)
    if end == signal.SIGKILL:
        assert process.returncode == -end
        return  # and no_ray_stays: the cluster ends without the command
    assert process.returncode == 128 + end, said
    assert "of 6 clips are done" in said
    assert "raylet" not in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob(".out.work/clips/doing-*"))
    again = subprocess.run(
        [word.replace("executor=ray", "executor=local") for word in command], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "of 6 clips were done before" in again.stderr
    assert len(ShardSet(tmp_path / "out").clips) == 6


@pytest.mark.slow
def test_tasks_are_left_while_they_begin_and_while_they_wait(tmp_path, no_ray_stays):
    """Ray ends the command that cancels a task in the moment when a worker takes it."""
    code = (
        "import test_executors as t, pathlib, sys\n"
        "from anchor.preprocess import on_ray\n"
        "tasks = [(pathlib.Path(sys.argv[1]), i, 'work') for i in range(400)]\n"
        "made = on_ray.run_all_on_ray(t.note_and, tasks, 50, t.refuse, pathlib.Path(sys.argv[1]), list)\n"
        "print(next(made))\n"
        "made.close()\n"
        "print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "left"), done.stderr
