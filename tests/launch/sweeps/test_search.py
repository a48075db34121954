"""The search on Optuna: what it asks, what it is told, and that a stop changes neither; only trainings are fakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from anchor.errors import ConfigError
from anchor.files import read_json, write_json
from launch.sweeps.job import JobExit
from launch.sweeps.search import JOURNAL, OptunaSweeper
from launch.sweeps.space import all_values, distribution_of, write_value
from launch.sweeps.state import Job, Sweep

optuna = pytest.importorskip("optuna", reason="the search needs optuna")
LOG_LR = "module.lr=tag(log,interval(1e-4,1e-1))"


def fail(config):
    raise JobExit(1, "the cards were on fire")


def stop(config):
    raise JobExit(143, "stopped by SIGTERM; saved")


def parse(text):
    return OverridesParser.create().parse_override(text)


def trials(folder="sweep"):
    backend = optuna.storages.journal.JournalFileBackend(str(Path(folder, JOURNAL)))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name="sweep", storage=storage).trials


def asked(folder="sweep"):
    jobs = json.loads(Path(folder, "sweep.json").read_text())["jobs"]
    return [next(text for text in job["overrides"] if text.startswith("module.lr=")) for job in jobs]


@pytest.fixture
def search(sweep):
    def run(*words, **options):
        return sweep("hydra/sweeper=optuna", "hydra.sweeper.startup_trials=2", *words, **options)

    return run


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a=1e-4,x", optuna.distributions.CategoricalDistribution(["0.0001", "x"])),
        ("a=[1,2],null", optuna.distributions.CategoricalDistribution(["[1,2]", "null"])),
        ("a=range(1,10,4)", optuna.distributions.IntDistribution(1, 9, step=4)),
        ("a=range(1,9,4)", optuna.distributions.IntDistribution(1, 5, step=4)),
        ("a=range(5,1,-2)", optuna.distributions.IntDistribution(3, 5, step=2)),
        ("a=interval(1,8)", optuna.distributions.FloatDistribution(1, 8)),
        ("a=int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("a=tag(log,int(interval(1,8)))", optuna.distributions.IntDistribution(1, 8, log=True)),
        ("a=tag(log,interval(1e-5,1e-2))", optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)),
    ],
)
def test_hydras_grammar_becomes_distributions(text, wanted):
    assert distribution_of(parse(text)) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a=tag(log,interval(0,1))", "tag(log,...) needs numbers above 0"),
        ("a=interval(2,1)", "2.0 is above 1.0"),
        ("a=range(3,3)", "it holds no value"),
        ("a=tag(lgo,interval(1,2))", "the tag lgo is unknown"),
        ("a=tag(log,range(1,9,2))", "needs a step of 1"),
    ],
)
def test_what_is_no_space_is_said(text, says):
    with pytest.raises(ConfigError, match=r".") as error:
        distribution_of(parse(text))
    assert says in str(error.value)
    assert text in str(error.value)


def test_values_are_overrides_that_hydra_reads_back():
    for value in (1e-05, 0.30000000000000004, 12, "[1,2]", "'a b'", "null"):
        override = parse(write_value("a", value))
        assert not override.is_sweep_override()
        if not isinstance(value, str):
            assert override.value() == value
    assert all_values("a", distribution_of(parse("a=range(0.1,0.5,0.1)"))) == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.slow
def test_a_search_finds_tells_and_goes_on_as_if_nothing_had_been(search, runs, capsys):
    whole = ["hydra.sweeper.n_trials=5", LOG_LR]
    runs.behave = {1: fail}
    assert search(*whole, folder="whole") == 1
    assert [trial.state.name for trial in trials("whole")] == ["COMPLETE", "FAIL", *["COMPLETE"] * 3]
    assert trials("whole")[0].value == pytest.approx(abs(float(asked("whole")[0].partition("=")[2]) - 0.01), abs=1e-9)
    runs.behave, runs.started = {1: fail, 3: stop}, []
    with pytest.raises(SystemExit) as stopped:
        search(*whole, folder="cut")
    assert stopped.value.code == 143
    assert [trial.state.name for trial in trials("cut")] == ["COMPLETE", "FAIL", "COMPLETE", "RUNNING"]
    with Path("cut", JOURNAL).open("ab") as file:
        file.write(b'{"op_code":5,"worker')  # a kill while Optuna wrote
    runs.behave, runs.started = {}, []
    assert search(*whole, folder="cut") == 1
    assert runs.started == [3, 4]
    assert asked("cut") == asked("whole")
    assert [trial.params for trial in trials("cut")] == [trial.params for trial in trials("whole")]
    assert "goes on, for the search leaves failed jobs behind" in capsys.readouterr().err


@pytest.mark.slow
def test_what_ended_and_was_not_told_is_told_after_a_kill(search, runs):
    runs.behave = {1: fail}
    assert search("hydra.sweeper.n_trials=2", LOG_LR) == 1
    journal = Path("sweep", JOURNAL)
    told = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(told[:-1]))  # the last word, how trial 1 ended, is lost
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "RUNNING"]
    runs.started = []
    assert search("hydra.sweeper.n_trials=2", LOG_LR) == 1
    assert runs.started == []
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "FAIL"]
    assert search("hydra.sweeper.n_trials=3", LOG_LR) == 1  # a larger number goes on
    assert runs.started == [2]


@pytest.mark.slow
def test_a_trial_killed_before_it_had_a_job_gets_one(search, runs):
    assert search("hydra.sweeper.n_trials=2", LOG_LR) == 0
    content = read_json(Path("sweep/sweep.json"))
    last = content["jobs"].pop()
    write_json(Path("sweep/sweep.json"), content)
    Path("sweep/1/job.json").unlink()
    journal = Path("sweep", JOURNAL)
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    runs.started = []
    assert search("hydra.sweeper.n_trials=2", LOG_LR) == 0
    assert runs.started == [1]
    assert read_json(Path("sweep/sweep.json"))["jobs"][-1] == last


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_each_sampler_repeats_itself_for_a_seed(sampler, search, runs):
    words = [f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", LOG_LR]
    assert search(*words, folder="one") == 0
    assert search(*words, folder="two") == 0
    assert asked("one") == asked("two")
    assert len(set(asked("one"))) == 4


@pytest.mark.slow
def test_a_grid_runs_every_combination_once_in_a_shuffled_order(search, runs):
    words = ["hydra.sweeper.sampler=grid", "module.lr=1e-4,1e-3,1e-2", "seed=range(0,2)"]
    runs.behave = {2: stop}
    with pytest.raises(SystemExit):
        search(*words)
    runs.behave = {}
    assert search(*words) == 0
    jobs = json.loads(Path("sweep/sweep.json").read_text())["jobs"]
    assert len({tuple(job["overrides"]) for job in jobs}) == len(jobs) == 6
    assert [tuple(job["overrides"]) for job in jobs] != sorted(tuple(job["overrides"]) for job in jobs)


def test_a_grid_asked_several_at_once_and_restarted_repeats_nothing(monkeypatch):
    study = optuna.create_study()
    combinations = []

    def start(jobs):
        sweeper = OptunaSweeper(sampler="grid", n_jobs=2)
        sweeper.space = {key: distribution_of(parse(f"{key}=1,2,3")) for key in "ab"}
        sweeper.state = Sweep(Path("sweep"), "optuna", [], ["a", "b"], jobs)
        combinations[:] = sweeper._combinations()
        sweeper._settle(study)
        return sweeper

    def ask(sweeper):
        numbers = [sweeper._ask(study, combinations) for _ in range(2)]
        sweeper.state.jobs += [Job(number, (), str(number)) for number in numbers]

    first = start([])
    ask(first)
    first.state.jobs += [Job(first._ask(study, combinations), (), "2")]
    with monkeypatch.context() as killed:
        killed.setattr(study, "ask", lambda space: optuna.Study.ask(study))
        first._ask(study, combinations)  # and is killed before this one has its values
    second = start(first.state.jobs)
    study.enqueue_trial(combinations[3], user_attrs={"combination": 3})  # as one killed before it asked leaves it
    while len(second.state.jobs) < len(combinations):
        ask(second)
    ran = [study.trials[job.number].params for job in second.state.jobs]
    assert len(ran) == 9
    assert sorted(map(str, ran)) == sorted(map(str, combinations))


@pytest.mark.slow
def test_the_goal_follows_the_monitor(search, runs):
    assert search("hydra.sweeper.n_trials=1", "monitor_mode=max", LOG_LR) == 0
    assert trials()[0].value == pytest.approx(abs(trials()[0].params["module.lr"] - 0.01) + 0.5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["module.lr=1e-3"], "nothing to vary"),
        (["hydra.sweeper.sampler=tpee", LOG_LR], "hydra.sweeper.sampler=tpee is no choice. Did you mean tpe?"),
        (["hydra.sweeper.n_trials=0", LOG_LR], "hydra.sweeper.n_trials=0 is not a whole number above 0"),
        (["hydra.sweeper.n_trials=many", LOG_LR], "n_trials"),
        (["module.lrr=interval(1,2)"], "module.lrr= is unknown. Did you mean module.lr?"),
        (["model=tiny,unet618", LOG_LR], "model=unet618 is no choice. Did you mean unet168?"),
        (["hydra.sweeper.sampler=grid", LOG_LR], "module.lr: a grid cannot hold an interval"),
        (["monitor_mode=min,max", LOG_LR], "must be judged by one number"),
    ],
)
def test_what_cannot_be_searched_is_said_before_the_first_job(words, says, search, runs, capsys):
    assert search(*words) == 2
    assert says in capsys.readouterr().err
    assert runs.started == []
    assert not Path("sweep").exists()


def test_without_optuna_one_sentence_says_what_to_install(search, runs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(LOG_LR) == 2
    assert "pip install 'virtual-anchor[sweep]'" in capsys.readouterr().err


def test_a_sweep_without_a_search_does_not_load_optuna(tmp_path):
    code = "import sys, launch.sweeps.register; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
