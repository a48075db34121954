"""The command as a user types it, in processes of its own."""

import os
import re
import signal
import subprocess
import sys
import time
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
        (["experiment=synnet"], "experiment=synnet is no choice. Did you mean syncnet?"),
        (["experiment=syncnet", "model=unet618"], "model=unet618 is no choice. Did you mean unet168?"),
        (["experiment=syncnet", "module.lrr=1"], "module.lrr= is unknown. Did you mean module.lr?"),
        (["experiment=syncnet", "trainr.max_steps=1"], "trainr= is unknown. Did you mean trainer?"),
        (["experimant=syncnet"], "experimant= is unknown. Did you mean experiment?"),
        (["experiment=syncnet", "accelerator.devices=abc"], "accelerator.devices=abc is not a whole number"),
        (["experiment=syncnet", "+hydra.callbacks.x._target_=shutil.copyfile"], "is not allowed"),
        (["experiment=syncnet", "+hydra.job_logging.formatters.x.()=os.getcwd"], "is not allowed"),
        (["experiment=finetune", "module.base=null"], "module.base= must be given"),
        (["experiment=syncnet", "accelerator=cpu2", "accelerator.nodes=2"], "needs launch.rendezvous=HOST:PORT"),
    ],
)
def test_bad_input_is_one_sentence_and_a_status(words, says, tmp_path):
    done = anchor("train", *words, "run_dir=run", cwd=tmp_path)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_every_package_of_the_tree_is_installed():
    text = (ROOT / "pyproject.toml").read_text()
    listed = set(re.findall(r'^    "([\w.]+)",', text[text.index("packages = [") :].split("\n]")[0], re.MULTILINE))
    tops = ("anchor", "datamodules", "launch", "lightning_modules")
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in tops
        for path in (ROOT / top).rglob("__init__.py")
        if "site" not in path.relative_to(ROOT).parts  # a torch_mlu that is data until it is activated
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


def test_a_run_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = anchor("train", "experiment=syncnet", "run_dir=file/run", cwd=tmp_path)
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["launch", "datamodules", "lightning_modules"])
def test_a_foreign_package_where_the_user_stands_never_runs(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the foreign one ran')")
    done = anchor("train", "--cfg", "job", "experiment=syncnet", cwd=tmp_path)
    assert done.returncode == 2
    assert f"the package '{name}' comes from {tmp_path}" in done.stderr
    assert "the foreign one ran" not in done.stderr + done.stdout


def test_a_package_that_another_distribution_overwrote_is_told(tmp_path):
    for name in ("anchor", "launch", "datamodules", "lightning_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text((ROOT / name / "__init__.py").read_text())
    for name in ("guard", "errors"):
        (tmp_path / "anchor" / f"{name}.py").write_text((ROOT / "anchor" / f"{name}.py").read_text())
    script = "from anchor.guard import check_packages; check_packages()"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "launch" / "__init__.py").write_text("from launch.description import LaunchDescription\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert "the package 'launch'" in done.stderr
    assert "another distribution's" in done.stderr


@pytest.mark.slow
def test_ctrl_c_is_one_sentence_and_the_run_goes_on(tmp_path):
    words = ["experiment=syncnet", "accelerator=cpu2", "run_dir=run", "trainer.max_steps=400"]
    words += ["datamodule.speakers=4", "datamodule.val_speakers=1", "callbacks.last.every_n_train_steps=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "anchor", "train", *words]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for _ in range(600):
        if last.is_file():
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert "stopped by Ctrl-C" in said
    assert "Traceback" not in said
    words[3] = "trainer.max_steps=8"
    done = anchor("train", *words, "trainer.val_check_interval=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr


@pytest.mark.slow
def test_both_networks_of_the_quality_stage_stay_equal_across_ranks(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert one == two


TWO_RANKS = """
import hashlib, os
from pathlib import Path
import lightning as L, torch
from anchor.models import LipGenerator, PatchDiscriminator, SyncNet
from datamodules import SyntheticDataModule
from lightning_modules import QualityModule

def digest(module):
    parts = [p.detach().numpy().tobytes() for net in (module.net, module.discriminator) for p in net.parameters()]
    return hashlib.sha256(b"".join(parts)).hexdigest()

torch.manual_seed(0)
net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
expert = SyncNet(image_size=32, width=2, embedding_size=8)
judges = {"discriminator": PatchDiscriminator(widths=(4, 8)), "expert": expert}
digests, waits = [], []
def count_waits(self, wait=L.pytorch.strategies.DDPStrategy.block_backward_sync):
    waits.append(1)
    return wait(self)
L.pytorch.strategies.DDPStrategy.block_backward_sync = count_waits
for accumulate in (1, 2):
    module = QualityModule(net=net, adversarial_start_step=0, accumulate_grad_batches=accumulate, **judges)
    digests.append(digest(module))
    data = SyntheticDataModule(image_size=32, batch_size=4, speakers=3, val_speakers=1, clips=1, seconds=1.0)
    trainer = L.Trainer(max_steps=6, accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true",
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False, num_sanity_val_steps=0,
        logger=False)
    trainer.fit(module, data)
    assert len(waits) == 6 * (accumulate - 1), waits  # three steps: each network waits for its second batch
digests.append(digest(module))
assert len(set(digests)) == 3
Path(f"rank{os.environ['RANK']}").write_text(" ".join(digests))
"""


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
def test_a_worker_that_fails_ends_the_run_with_its_sentence(tmp_path):
    words = ["experiment=syncnet", "datamodule=shards", "datamodule.path=nowhere", "accelerator=cpu2", "run_dir=run"]
    done = anchor("train", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
