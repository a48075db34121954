"""Hostile configurations: whatever is written in one, nothing runs but the classes of the allow-list."""

import os

import pytest
from evil import evil_pickle

from anchor.__main__ import main
from anchor.errors import ConfigError
from launch.hydra_guard import check_hydra
from launch.recipes.chain import Chain, Step

SMALL = ["experiment=syncnet", "accelerator=cpu", "trainer.max_steps=1", "datamodule.speakers=3"]
HANDLER = "+hydra.job_logging.handlers.x={class:subprocess.Popen,args:[touch,MARK]}"
CALLBACK = "+hydra.callbacks.x={_target_:TARGET,_args_:['touch MARK']}"
LAUNCHER = "hydra/launcher=slurm"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["+callbacks.x={_target_:os.system,command:'touch MARK'}"], "callbacks.x._target_=os.system is not allowed"),
        (["+callbacks.x={_target_:os.system,_partial_:true}"], "is not allowed"),
        (["+module.x=[{a:{_target_:torch.load,f:MARK}}]"], "torch.load is not allowed"),
        (["+module.x='${oc.create:{_target_:os.system}}'"], "os.system is not allowed"),
        ([CALLBACK.replace("TARGET", "os.system")], "os.system is not allowed"),
        ([CALLBACK.replace("TARGET", "hydra._internal.utils.os.system")], "is not allowed"),
        ([CALLBACK.replace("TARGET", "hydra.experimental.callbacks.pickle.loads")], "names no class"),
        ([CALLBACK.replace("TARGET", "hydra_plugins.hydra_submitit_launcher.submitit_launcher.os.system")], "names no"),
        ([CALLBACK.replace("TARGET", "launch.sweeps.grid.os.system")], "is not allowed"),
        ([HANDLER], "logging is made of Python's own classes alone"),
        (["+hydra.hydra_logging.handlers.x={class:logging.StreamHandler,stream:ext://os.environ}"], "ext://os.environ"),
        (["+hydra.job.env_set={PYTHONPATH:MARK}"], "hydra.job.env_set.PYTHONPATH is not allowed"),
        (["+hydra.job.env_set.LD_PRELOAD=MARK"], "LD_PRELOAD in the environment of the command itself"),
        (
            ["-m", "hydra.sweep.dir=sweep", "seed=1,2", "+callbacks.x={_target_:os.system,command:'touch MARK'}"],
            "os.system is not allowed",
        ),
        (["-m", "seed=1,2", "hydra.sweeper._target_=os.system"], "os.system is not allowed"),
        (["-m", "seed=1,2", "hydra.launcher._target_=subprocess.Popen"], "subprocess.Popen is not allowed"),
    ],
)
def test_what_a_command_may_not_name(tmp_path, monkeypatch, mark, refused, words, says):
    monkeypatch.chdir(tmp_path)
    said = refused(
        "train",
        *(word.replace("MARK", str(mark)) for word in words),
        *SMALL,
        *(["run_dir=run"] if "-m" not in words else []),
    )
    assert says in said


def test_files_of_others_are_read_with_the_same_eyes(tmp_path, monkeypatch, mark, refused):
    """A folder of configurations that somebody sent, as --config-dir takes it."""
    monkeypatch.chdir(tmp_path)
    sent = tmp_path / "sent"
    files = {
        "experiment/target.yaml": "# @package _global_\ndefaults: [syncnet, _self_]\n"
        "callbacks: {x: {_target_: os.system, command: touch MARK}}",
        "hydra/job_logging/evil.yaml": "version: 1\nhandlers: {x: {(): subprocess.Popen, args: [touch, MARK]}}\n"
        "root: {handlers: [x]}",
        "hydra/launcher/evil.yaml": "defaults: [submitit_slurm, _self_]\nsetup: ['touch MARK']",
        "hydra/env/evil.yaml": "env_set: {BASH_ENV: MARK}",
    }
    for name, text in files.items():
        (sent / name).parent.mkdir(parents=True, exist_ok=True)
        (sent / name).write_text(text.replace("MARK", str(mark)))
    words = ["--config-dir", "sent", "run_dir=run"]
    assert "os.system" in refused("train", *words, "experiment=target", *SMALL[1:])
    assert "Python's own classes" in refused("train", *words, *SMALL, "hydra/job_logging=evil")
    assert "BASH_ENV is not allowed" in refused("train", *words, *SMALL, "+hydra/env@hydra.job=evil")
    assert "stands in a file, and becomes lines of a shell" in refused("train", *words, *SMALL, "hydra/launcher=evil")


@pytest.mark.parametrize("words", ["--experimental-rerun sent.pickle", "--exp=sent.pickle", "--e sent.pickle"])
def test_a_pickled_configuration_is_not_loaded(tmp_path, monkeypatch, mark, refused, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sent.pickle").write_bytes(evil_pickle(mark))
    assert "it loads a pickle" in refused("train", *words.split())


def test_what_users_of_hydra_write_is_allowed():
    check_hydra({
        "job": {"env_set": {"OMP_NUM_THREADS": "2", "WANDB_MODE": "offline"}},
        "job_logging": {"handlers": {"a": {"class": "logging.FileHandler", "filename": "a.log"},
                                     "b": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
                        "formatters": {"c": {"()": "colorlog.ColoredFormatter"}}},
        "launcher": {"setup": ["module load neuware"]},
        "overrides": {"hydra": ["hydra.launcher.setup=[module load neuware]"]},
    })  # fmt: skip
    with pytest.raises(ConfigError, match="becomes lines of a shell script"):
        check_hydra({"launcher": {"setup": ["module load neuware"]}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("about: x\ninputs: {out: {}}\nsteps: []\nx: !!python/object/apply:os.system ['touch MARK']", "no YAML"),
        ("about: x\ninputs: {out: {}}\nsteps: 5", "the step 5 lacks name"),
        ("about: x\ninputs: about\nsteps: []", "a recipe has"),
        ("about: x\ninputs: {out: {}}\nsteps: []", "the input out lacks kind or what"),
        ("about: x\ninputs: {out: {}}\nsteps: [{name: a, title: b, run: touch, leaves: c}]", "no list of words"),
        ("about: x\ninputs: {out: {}}\nsteps: [5]", "the step 5 lacks name"),
        ("- 1", "a recipe has"),
        ("9", "a recipe has"),
        ("a: " + "[" * 1500, "no YAML"),
        ("a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)), "aliases stand"),
        ("a: &a [*a]", "its aliases stand for"),
    ],
    ids=["python-tag", "number", "inputs", "input", "run", "numbers", "list", "bare", "deep", "bomb", "ring"],
)  # fmt: skip
def test_a_recipe_from_elsewhere_is_read_and_not_run(tmp_path, mark, refused, text, says):
    import re

    path = tmp_path / "sent.yaml"
    path.write_text(text.replace("MARK", str(mark)))
    assert re.search(says, refused("run", f"recipe={path}", f"out={tmp_path / 'out'}"))


def test_a_recipe_empties_no_folder_but_its_own(tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("mine")
    (out / "link").parent.mkdir()
    (out / "link").symlink_to(victim)
    for folder in (out / ".." / "victim", out / "link", out / "link" / "..", tmp_path, out):
        chain = Chain(out)
        chain.record = {"a": {"key": "before"}}
        with pytest.raises(ConfigError, match="would empty it, and it is not in"):
            chain.run(Step("a", "a", ("shards",), folder / "x", folder))
    assert (victim / "precious").read_text() == "mine"


def test_a_name_from_outside_does_not_steer_the_terminal(capfd, tmp_path):
    assert main(["shards", "verify", f"path={tmp_path}/\x1b]0;owned\x07\x1b[2J"]) == 2
    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert "\\x1b[2J" in said
    assert os.fspath(tmp_path) in said
