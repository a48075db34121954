"""The command as a user types it, in processes of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anchor.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def anchor(*words, cwd, timeout=300):
    return subprocess.run(
        [sys.executable, "-m", "anchor", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_help_is_light(tmp_path):
    code = (
        "import sys, anchor.__main__ as m; m.main(['--help'])\n"
        "sys.exit(str({'torch', 'lightning', 'hydra', 'numpy'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_each_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"usage: anchor {name}" in capsys.readouterr().out


def test_an_unknown_command_and_key_are_answered(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean train?" in capsys.readouterr().err
    assert main(["synth", "out=x", "speekers=3"]) == 2
    assert "Did you mean speakers?" in capsys.readouterr().err


def test_the_composed_configuration_is_printed_from_any_folder(tmp_path):
    done = anchor("train", "--cfg", "job", "experiment=generator", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lightning_modules.GeneratorModule" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["experiment=finetune"], "module.base= must be given"),
        (["experiment=generator", "module.expert=nowhere.ckpt"], "module.expert=nowhere.ckpt: no such checkpoint"),
        (["experiment=syncnet", "resume=nowhere.ckpt"], "resume=nowhere.ckpt: no such checkpoint"),
        (["experiment=syncnet", "module._target_=os.system"], "is not allowed"),
        (["experiment=synnet"], "Could not find 'experiment/synnet'"),
    ],
)
def test_bad_input_is_one_sentence_and_a_status(words, says, tmp_path):
    done = anchor("train", *words, "run_dir=run", cwd=tmp_path)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_every_package_of_the_tree_is_installed():
    text = (ROOT / "pyproject.toml").read_text()
    listed = set(re.findall(r'^    "([\w.]+)",', text[text.index("packages = [") :].split("\n]")[0], re.MULTILINE))
    tops = ("anchor", "datamodules", "launch", "lightning_modules")
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in tops for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed == found | {"anchor.conf"}


def test_the_library_needs_no_trainer(tmp_path):
    code = (
        "import sys\n"
        "for name in ('lightning', 'hydra', 'omegaconf', 'wandb'): sys.modules[name] = None\n"
        "import anchor.inference, anchor.evaluation, anchor.preprocess, anchor.synth, anchor.models\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_ranks_train_as_one_run(tmp_path):
    words = [
        "experiment=generator",
        "accelerator=cpu2",
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "run_dir=run",
    ]
    done = anchor("train", *words, "datamodule.speakers=4", "datamodule.val_speakers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "generator on 2 x cpu" in done.stdout
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_a_sweep_runs_each_job_on_all_its_ranks(tmp_path):
    words = [
        "-m",
        "experiment=syncnet",
        "sweep=lr",
        "accelerator=cpu2",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
    ]
    done = anchor(
        "train", *words, "datamodule.speakers=4", "datamodule.val_speakers=1", "hydra.sweep.dir=sweep", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for job, lr in (("0", "0.001"), ("1", "0.003")):
        text = (tmp_path / "sweep" / job / "config.yaml").read_text()
        assert f"lr: {lr}" in text
        assert (tmp_path / "sweep" / job / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_run_with_its_sentence(tmp_path):
    words = ["experiment=syncnet", "datamodule=shards", "datamodule.path=nowhere", "accelerator=cpu2", "run_dir=run"]
    done = anchor("train", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
