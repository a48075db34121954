"""A sweep by combinations: it goes through, goes on, and refuses what cannot be; the trainings alone are fakes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from anchor.__main__ import main
from anchor.files import read_json, write_json
from launch.locks import claim
from launch.sweeps.grid import GridSweeper
from launch.sweeps.job import JobExit
from launch.sweeps.state import Job, Record, Sweep


def fail(config):
    raise JobExit(1, "the cards were on fire")


def crash(config):
    raise RuntimeError("a bug")


def stop(config):
    raise JobExit(75, "stopped by SIGUSR1; saved")


def interrupt(config):
    raise KeyboardInterrupt


def record(number, folder="sweep"):
    return read_json(Path(folder, str(number), "job.json"))


def test_a_failed_job_stands_in_the_table_and_the_others_run(sweep, runs, capsys):
    runs.behave = {1: fail, 2: crash}
    assert sweep("module.lr=1e-4,3e-4,1e-3,1e-2") == 1
    said = capsys.readouterr()
    assert runs.started == [0, 1, 2, 3]
    rows = [line.split() for line in said.out.splitlines()]
    assert ["3", "done", "0.0000", "0.0000", "4", "1.5", "0.01"] in rows
    assert ["1", "failed", "0.0003"] in rows
    assert "job 1 failed: the cards were on fire" in said.out
    assert "job 2 failed: RuntimeError: a bug" in said.out
    assert "4 jobs, 2 done, 2 failed; by val/l1, lowest first" in said.out
    assert "best: job 3, sweep/3/checkpoints/last.ckpt" in said.out
    assert "jobs 1, 2 of 4 failed" in said.err
    assert "hydra.sweep.dir=sweep" in said.err


def test_a_restarted_sweep_runs_what_is_left_and_what_failed(sweep, runs, capsys):
    runs.behave = {0: fail, 2: stop}
    with pytest.raises(SystemExit) as stopped:
        sweep("seed=range(4)")
    assert stopped.value.code == 75
    assert runs.started == [0, 1, 2]
    assert "4 jobs, 1 done, 1 failed, 1 stopped, 1 waiting" in capsys.readouterr().out
    runs.behave, runs.started = {}, []
    assert sweep("seed=range(4)") == 0
    assert runs.started == [0, 2, 3]
    assert "4 jobs, 4 done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left", "wanted"), [([0, 2, 5, 6], [[0, 1, 2, 3, 4, 5, 6]]), ([0, 29], [[0], [29]]), ([3, 4], [[3, 4]]), ([], [])]
)
def test_a_restart_does_not_queue_many_jobs_that_are_done(left, wanted, tmp_path, monkeypatch):
    jobs = [Job(number, (), str(number)) for number in range(30)]
    for job in jobs:
        Record("failed" if job.number in left else "done").save(tmp_path / job.folder)
    sweeper = GridSweeper()
    sweeper.state = Sweep(tmp_path, "basic", [], [], jobs)
    launched = []
    monkeypatch.setattr(sweeper, "launch", lambda jobs: launched.append([job.number for job in jobs]))
    sweeper.search([])
    assert launched == wanted


@pytest.mark.slow
def test_failed_jobs_are_left_alone_by_a_switch(sweep, runs):
    runs.behave = {1: fail}
    words = ["module.lr=1e-4,3e-4,1e-3", "hydra.sweeper.retry_failed=false"]
    assert sweep(*words) == 1
    (Path("sweep") / "0" / "job.json").unlink()
    (Path("sweep") / "2" / "job.json").unlink()
    runs.behave, runs.started = {}, []
    assert sweep(*words) == 1
    assert runs.started == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize("how", [stop, interrupt])
def test_the_users_stop_ends_the_sweep(how, sweep, runs, capsys):
    runs.behave = {1: how}
    if how is stop:
        with pytest.raises(SystemExit) as end:
            sweep("module.lr=1e-4,3e-4,1e-3")
        assert end.value.code == 75
    else:
        assert sweep("module.lr=1e-4,3e-4,1e-3") == 130
    assert runs.started == [0, 1]
    assert record(1)["status"] == "stopped"
    said = capsys.readouterr()
    assert "3 jobs, 1 done, 1 stopped, 1 waiting" in said.out
    assert "The same command with hydra.sweep.dir=sweep goes on" in said.err


@pytest.mark.slow
def test_every_job_knows_its_sweep_and_the_name_survives_a_restart(sweep, runs):
    seen = []
    runs.behave = {i: lambda config: seen.append((config.sweep_id, config.sweep_job)) for i in range(2)}
    assert sweep("module.lr=1e-4,3e-4") == 0
    Path("sweep/1/job.json").unlink()
    assert sweep("module.lr=1e-4,3e-4") == 0
    assert len({name for name, _ in seen}) == 1
    assert seen[0][0].startswith("sweep-")
    assert [number for _, number in seen] == [0, 1, 1]


@pytest.mark.slow
def test_a_job_whose_process_was_killed_runs_again(sweep, runs, capsys):
    assert sweep("module.lr=1e-4,3e-4") == 0
    write_json(Path("sweep/1/job.json"), {**record(1), "status": "running", "value": None})
    runs.started = []
    assert sweep("module.lr=1e-4,3e-4") == 0
    assert runs.started == [1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["module.lr=1e-4,1e-2"], "holds another sweep: there it was module.lr=1e-4,3e-4, and now it is"),
        (["module.lr=1e-4,3e-4", "seed=1"], "there it was nothing, and now it is seed=1"),
        (["module.lr=1e-4,3e-4", "hydra/sweeper=optuna"], "holds a sweep by hydra/sweeper=basic"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused(words, says, sweep, runs, capsys):
    definition = ["accelerator=cpu", "experiment=generator", "module.lr=1e-4,3e-4"]
    Sweep(Path("sweep"), "basic", definition, ["module.lr"], [Job(0, (), "0")]).save()
    before = Path("sweep/sweep.json").read_text()
    assert sweep(*words) == 2
    assert says in capsys.readouterr().err
    assert runs.started == []
    assert Path("sweep/sweep.json").read_text() == before


def test_two_living_sweeps_never_share_a_folder(sweep, runs, capsys):
    with claim(Path("sweep/.sweep.lock"), "x"):
        assert sweep("module.lr=1e-4") == 2
    said = capsys.readouterr().err
    assert "sweep: another sweep runs there" in said
    assert f"process {os.getpid()} on " in said
    assert runs.started == []
    assert sweep("module.lr=1e-4") == 0


def test_a_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from launch.locks import claim\n"
        "with claim(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match=f"x .process {process.pid} on"), claim(path, "x"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with claim(path, "x"):
        pass


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["module.lrr=1e-4,3e-4"], "module.lrr= is unknown. Did you mean module.lr?"),
        (["model=tiny,unet618"], "model=unet618 is no choice. Did you mean unet168?"),
        (["module.lr=interval(1e-4,1e-2)"], "module.lr=interval(1e-4,1e-2): an interval has no list of values"),
        (["accelerator.devices=1,3"], "job 1 of the sweep: "),
        (["module.expert=null,nowhere.ckpt"], "job 1 of the sweep: module.expert=nowhere.ckpt: no such checkpoint"),
        (["module.lr=1,2", "run_dir=run"], "run_dir= is the folder of one run"),
        (["module.lr=1,2", "hydra.sweep.subdir=same"], "jobs 0 and 1 of the sweep have the same folder, same"),
        (["module.lr=1,2", "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0 must be 1 or more"),
        (["module.lr=range(3,1)"], "the sweep has no job"),
        (["module.lr=1,2", "+hydra.callbacks.x._target_=anchor.files.write_json"], "is not allowed"),
        (["module.lr=1,2", "accelerator.nodes=2"], "a sweep over several machines goes through a scheduler"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_job(words, says, sweep, runs, capsys):
    assert sweep(*words) == 2
    assert says in capsys.readouterr().err
    assert runs.started == []
    assert not Path("sweep").exists()


def test_configurations_are_not_printed_and_run_at_once(capsys):
    assert main(["train", "-m", "--cfg", "job", "experiment=syncnet"]) == 2
    assert "--cfg" in capsys.readouterr().err


@pytest.mark.slow
def test_stages_may_be_varied_and_share_a_folder(sweep, runs, capsys):
    assert sweep(experiment="generator,syncnet", folder=None) == 0
    folder = next(Path("runs/multirun/several").iterdir())
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"0", "1"}
    assert OmegaConf.load(folder / "1" / ".hydra" / "config.yaml").stage == "syncnet"
    assert "metric" in capsys.readouterr().out


@pytest.mark.slow
def test_the_folder_of_a_job_may_have_a_name(sweep, runs):
    assert sweep("module.lr=1e-4,3e-4", "hydra.sweep.subdir=lr-${module.lr}", folder="with, comma") == 0
    assert record("lr-0.0001", "with, comma")["status"] == "done"
    assert record("lr-0.0003", "with, comma")["status"] == "done"


@pytest.mark.slow
def test_a_sweep_in_batches_numbers_its_jobs_through(sweep, runs):
    assert sweep("module.lr=1e-4,3e-4,1e-3", "hydra.sweeper.max_batch_size=2") == 0
    assert runs.started == [0, 1, 2]
    assert json.loads(Path("sweep/sweep.json").read_text())["keys"] == ["module.lr"]


@pytest.mark.slow
def test_a_sweep_may_stand_in_a_configuration(runs):
    assert main(["train", "experiment=syncnet", "accelerator=cpu", "sweep=lr", "hydra.sweep.dir=sweep"]) == 0
    jobs = json.loads(Path("sweep/sweep.json").read_text())["jobs"]
    assert [job["overrides"][-1] for job in jobs] == ["sweep=lr"] * 2
    assert [job["overrides"][0] for job in jobs] == ["module.lr=0.001", "module.lr=0.003"]
    assert runs.started == [0, 1]


@pytest.mark.slow
def test_a_job_that_another_process_runs_is_left_to_it(sweep, runs, capsys):
    with claim(Path("sweep/1/.job.lock"), "x"):
        write_json(Path("sweep/1/job.json"), {"status": "running", "monitor": "val/l1"})
        assert sweep("module.lr=1e-4,3e-4") == 1
    said = capsys.readouterr()
    assert runs.started == [0]
    assert "job 1 is being run already (process" in said.err
    assert "2 jobs, 1 done, 1 running" in said.out
    assert "job 1 of 2 is not done" in said.err


@pytest.mark.slow
def test_the_nodes_of_a_job_run_it_together_and_one_keeps_the_record(sweep, runs, monkeypatch):
    monkeypatch.setattr("launch.sweeps.plugin.check_job", lambda composed, here: None)  # as if a scheduler started them
    with claim(Path("sweep/0/.job.lock"), "the first node"):
        assert sweep("module.lr=1e-4", "accelerator.nodes=2") == 1
    assert runs.started == [0]
    assert not Path("sweep/0/job.json").exists()
