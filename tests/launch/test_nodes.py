"""Two nodes on one machine: how they meet, what they refuse, and how one's end is the other's."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from anchor.errors import ConfigError
from launch import agent, agreement, endpoint, job, rendezvous, roll
from launch.accelerators import Machine
from launch.agreement import make_card
from launch.endpoint import AbsentError
from launch.job import JobError, run_job
from launch.options import check_launch
from launch.rendezvous import Nodes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / "run")


def write_config(folder, text="seed: 0\nmodule:\n  lr: 0.001\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def together(*functions):
    """Call each in a thread of its own; what they returned or raised."""
    said = [None] * len(functions)

    def call(i):
        try:
            said[i] = functions[i]()
        except Exception as error:
            said[i] = error

    threads = [threading.Thread(target=call, args=(i,), name=f"node-{i}") for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return said


def meet(*nodes):
    """One rendezvous of all ``nodes``; then each leaves as a job leaves."""

    def one(node):
        try:
            return node.next_rendezvous()
        finally:
            node.shutdown()

    return together(*(lambda node=node: one(node) for node in nodes))


def make(config, port, rank=None, **options):
    options = {"join_timeout_s": 20.0, "count": 2, **options}
    return Nodes(config, endpoint=f"127.0.0.1:{port}", node_rank=rank, **options)


@pytest.mark.parametrize("ranks", [(None, None), (1, 0), (None, 1)], ids=["as they come", "given", "one given"])
def test_nodes_meet_and_meet_again_at_the_same_places(config, port, ranks):
    nodes = [make(config, port, rank) for rank in ranks]

    def twice(node):
        return [node.next_rendezvous() for _ in range(2)]

    first, second = together(*(lambda node=node: twice(node) for node in nodes))
    for here, there in zip(first, second, strict=True):
        assert {here.rank, there.rank} == {0, 1}
        assert here.bootstrap_store_info == there.bootstrap_store_info
    assert [one.rank for one in first] == [first[0].rank] * 2
    assert first[0].bootstrap_store_info != first[1].bootstrap_store_info  # a new store: the old one's keys are stale


def test_a_port_in_use_is_told_by_the_node_that_should_serve_there(config):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of this machine is in use"):
            make(config, port, 0).next_rendezvous()


def test_another_program_at_the_port_is_told_apart_from_a_first_node(config, monkeypatch):
    monkeypatch.setattr(endpoint, "ANSWER_S", 0.5)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for rank in (None, 1):
            with pytest.raises(ConfigError, match="what listens there is no first node"):
                make(config, other.getsockname()[1], rank).next_rendezvous()


def test_a_node_that_never_joins_is_named_with_the_time(config, port):
    with pytest.raises(AbsentError, match=r"after 1 s these nodes .* 1 of 3: node 0 \(.+\)\. Node 1, 2 is missing"):
        make(config, port, 0, count=3, join_timeout_s=1.0).next_rendezvous()
    with pytest.raises(AbsentError, match=r"node 1 \(.+\) found nobody at .* for 1 s"):
        make(config, port, 1, join_timeout_s=1.0).next_rendezvous()


def test_two_nodes_of_one_number_are_both_named(config, port):
    said = meet(make(config, port, 0, count=3), make(config, port, 1, count=3), make(config, port, 1, count=3))
    assert sum("two nodes say that they are node 1" in str(one) for one in said) >= 2


def test_a_node_too_many_is_told(config, port):
    nodes = [make(config, port) for _ in range(2)]
    together(*(node.next_rendezvous for node in nodes))
    with pytest.raises(ConfigError, match="the run there has 2 nodes, from 0 to 1"):
        make(config, port).next_rendezvous()


def test_another_configuration_on_one_node_is_told_by_its_key_to_both(config, port, tmp_path):
    other = write_config(tmp_path / "other", "seed: 0\nmodule:\n  lr: 0.003\n")
    said = meet(make(config, port, 0), make(other, port, 1))
    for one in said:
        assert isinstance(one, ConfigError)
        assert "module.lr is 0.003 instead of 0.001" in str(one)
        assert "node 1 (" in str(one)


@pytest.mark.parametrize("what", ["code", "versions"])
def test_other_code_or_versions_on_one_node_are_told(config, port, monkeypatch, what):
    changed = {"code": "other"} if what == "code" else {"versions": {"torch": "0.0"}}

    def deal(text):
        card = make_card(text)
        return agreement.Card(**{**card.__dict__, **changed}) if threading.current_thread().name == "node-1" else card

    monkeypatch.setattr(roll, "make_card", deal)
    for one in meet(make(config, port, 0), make(config, port, 1)):
        assert ("other sources of anchor" if what == "code" else "torch 0.0 instead of") in str(one)


def test_a_folder_that_the_other_node_does_not_see_is_told(config, port, tmp_path, monkeypatch):
    monkeypatch.setattr(roll, "ANSWER_S", 0.5)
    elsewhere = write_config(tmp_path / "disk of the other" / "run")
    for one in meet(make(config, port, 0), make(elsewhere, port, 1)):
        assert "is not the folder that node 0" in str(one)
        assert "run_dir=" in str(one)


def test_nodes_with_other_numbers_of_cards_are_told(config, port):
    for one in meet(make(config, port, 0, devices=2), make(config, port, 1, devices=1)):
        assert "node 1" in str(one)
        assert "the same number" in str(one)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs launch.rendezvous=HOST:PORT"),
        ({"rendezvous": "somewhere"}, "is no HOST:PORT"),
        ({"rendezvous": "node0:99999"}, "is no HOST:PORT"),
        ({"rendezvous": "node0:2940", "node_rank": 2}, "launch.node_rank=2 is no node of 2"),
        ({"rendezvous": "node0:2940", "node_rank": "first"}, "launch.node_rank=first is no node of 2"),
        ({"rendezvous": "node0:2940", "join_timeout_s": 0}, "launch.join_timeout_s=0 cannot be"),
        ({"max_restarts": -1}, "launch.max_restarts=-1 cannot be"),
        ({"max_restarts": 1.5}, "launch.max_restarts=1.5 cannot be"),
        ({"stop_timeout_s": "long"}, "launch.stop_timeout_s=long cannot be"),
    ],
)
def test_launch_values_that_cannot_be(options, says):
    with pytest.raises(ConfigError, match=says):
        check_launch(options, nodes=2)


def test_a_nodes_place_comes_from_the_scheduler_where_none_is_given(monkeypatch):
    there = {"rendezvous": "node0:2940"}
    assert check_launch(there, nodes=4)["node_rank"] is None
    monkeypatch.setenv("SLURM_NODEID", "3")
    assert check_launch(there, nodes=4)["node_rank"] == 3
    assert check_launch({**there, "node_rank": 0}, nodes=4)["node_rank"] == 0
    monkeypatch.setenv("SLURM_NODEID", "7")
    with pytest.raises(ConfigError, match="SLURM_NODEID=7 is no node of 4"):
        check_launch(there, nodes=4)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("mlu[07-09,12]", "mlu07"),
        ("mlu7,mlu9", "mlu7"),
        ("rack-2-mlu[3,5]", "rack-2-mlu3"),
        ("alone", "alone"),
        ("r[1-2]c[1-4]", "r1c1"),
        ("r[01,03]c[4]-x,other[1-2]", "r01c4-x"),
    ],
)
def test_slurm_tells_where_the_nodes_meet(monkeypatch, hosts, first):
    monkeypatch.setenv("SLURM_JOB_NODELIST", hosts)
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    assert check_launch({}, nodes=2)["rendezvous"] == f"{first}:23456"
    assert check_launch({"rendezvous": "other:1"}, nodes=2)["rendezvous"] == "other:1"


PROGRAM = f"""
import json, os, pathlib, sys, time
sys.path.insert(0, {str(ROOT)!r})
from launch.failures import report
rank, node, restart = int(os.environ["RANK"]), int(os.environ["GROUP_RANK"]), os.environ["ANCHOR_RESTART"]
run_dir = pathlib.Path(sys.argv[1]).parent
(run_dir / f"up-{{rank}}-{{restart[0]}}").touch()
while len(list(run_dir.glob(f"up-*-{{restart[0]}}"))) < 2: time.sleep(0.01)
"""


@pytest.fixture
def two_nodes(config, port, tmp_path, monkeypatch):
    """Run a program as one rank on each of two nodes; what the two parents returned or raised."""
    monkeypatch.setattr(agent, "GRACE_S", 0.4)
    monkeypatch.setattr(agent, "LISTEN_S", 0.1)

    def start(program, **options):
        (tmp_path / "rank.py").write_text(PROGRAM + program)
        monkeypatch.setattr(job, "WORKER", (str(tmp_path / "rank.py"),))
        options = {"rendezvous": f"127.0.0.1:{port}", "join_timeout_s": 20, **options}
        machine = Machine("cpu", 1, 2, "32-true")
        run = [lambda rank=rank: run_job(config, machine, {**options, "node_rank": rank}) for rank in (0, 1)]
        return together(*run)

    return start


def test_both_nodes_return_the_result(two_nodes):
    done = 'time.sleep(0.5 * rank)\nif rank == 0: (run_dir / "result.json").write_text(json.dumps(restart))\n'
    assert two_nodes(done) == ["0/0", "0/0"]


@pytest.mark.parametrize("hangs", [True, False])
def test_a_failure_on_one_node_ends_the_other_and_is_named_there(two_nodes, hangs):
    after = (
        "time.sleep(60)"
        if hangs
        else "time.sleep(0.2); report('RuntimeError: Connection reset by peer', 1); sys.exit(1)"
    )
    began = time.monotonic()
    said = two_nodes(f"if rank == 1: report('ValueError: seed of trouble', 1); sys.exit(1)\n{after}")
    assert time.monotonic() - began < 30
    for one in said:
        assert isinstance(one, JobError)
        assert one.status == 1
        assert "rank 1 on" in str(one)
        assert "seed of trouble" in str(one)


def test_all_nodes_start_again_after_a_death_on_one(two_nodes, config):
    program = "if rank == 1 and restart[0] == '0': os._exit(5)\nif restart[0] == '0': time.sleep(60)\n"
    program += 'if rank == 0: (run_dir / "result.json").write_text(json.dumps(restart))\n'
    assert two_nodes(program, max_restarts=1) == ["1/1", "1/1"]
    said = two_nodes("os._exit(5) if rank == int(restart[0]) % 2 else time.sleep(60)", max_restarts=1)
    assert [one.status for one in said] == [5, 5]
    assert not list(config.parent.glob("up-*-2"))  # restarts are counted for the job, not for each node


def test_a_stop_on_one_node_is_no_failure_of_the_other(two_nodes):
    said = two_nodes("time.sleep(0.3 * rank); sys.exit(143)", max_restarts=1)
    assert [one.status for one in said] == [143, 143]


def test_a_node_that_went_without_a_word_is_named(two_nodes, monkeypatch):
    monkeypatch.setattr(rendezvous, "LOST_S", 0.5)
    monkeypatch.setattr(rendezvous, "BEAT_S", 0.1)
    beat = Nodes.beat
    began = time.monotonic()
    monkeypatch.setattr(
        Nodes, "beat", lambda self: beat(self) if self.rank == 0 or time.monotonic() - began < 2 else None
    )
    said = two_nodes("time.sleep(60)", max_restarts=1)
    for one in said:
        assert "node 1 (" in str(one)
        assert "was not heard of" in str(one)


def test_ranks_of_both_nodes_get_the_places_that_torch_expects(two_nodes, config):
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"]
    told = f"{{name: os.environ[name] for name in {names}}}"
    two_nodes(
        f"(run_dir / f'told-{{rank}}').write_text(json.dumps({told}))\n"
        "if rank == 0: (run_dir / 'result.json').write_text('1')\n"
    )
    first, second = (json.loads((config.parent / f"told-{rank}").read_text()) for rank in (0, 1))
    assert (second["RANK"], second["WORLD_SIZE"], second["LOCAL_RANK"], second["GROUP_RANK"]) == ("1", "2", "0", "1")
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    assert first["TORCHELASTIC_USE_AGENT_STORE"] == "True"
