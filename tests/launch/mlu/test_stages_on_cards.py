"""Every stage on simulated cards: in each precision on one, and from the command line on two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anchor.models import LipGenerator, SyncNet, describe, load_network

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("syncnet", "generator", "finetune", "quality")

pytestmark = pytest.mark.slow


def run(*words, **environment):
    base = {key: value for key, value in os.environ.items() if not key.startswith("ANCHOR_MLU_SIM")}
    path = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    environment = {**base, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    return subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, timeout=300)


def train(*words, **environment):
    small = ["datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.clips=1", "datamodule.seconds=1.2"]
    short = ["datamodule.val_windows_per_clip=2", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    return run(sys.executable, "-m", "anchor", "train", *small, *short, *words, **environment)


@pytest.fixture
def networks(tmp_path):
    """Words that give a stage what it begins with."""
    paths = {}
    for name, net in (("base", LipGenerator()), ("expert", SyncNet())):
        weights = {f"net.{key}": value for key, value in net.state_dict().items()}
        paths[name] = tmp_path / f"{name}.ckpt"
        torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, paths[name])

    def words(stage):
        base = [f"module.base={paths['base']}"] if stage in ("finetune", "quality") else []
        return [f"experiment={stage}", *base, *([f"module.expert={paths['expert']}"] if stage != "syncnet" else [])]

    return words


def test_each_stage_steps_in_each_precision(tmp_path, two_simulated_cards):
    done = run(sys.executable, ROOT / "tests" / "support" / "mlu_stages.py", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    half = {"16-mixed": "mlu torch.float16", "bf16-mixed": "mlu torch.bfloat16", "32-true": "mlu torch.float32"}
    for precision, computed in half.items():
        for stage in STAGES:
            answer = answers[f"{stage} {precision}"]
            assert answer["steps"] == 1
            expected = {computed, "mlu torch.float32"} if stage == "quality" else {computed}  # R1 is of full precision
            assert {kind for kind in answer["dtypes"] if kind.startswith("mlu")} == expected
            assert answer["places"] == ["cpu"]
            assert all(torch.isfinite(torch.tensor(value)) for value in answer["metrics"].values())


@pytest.mark.parametrize("stage", ["syncnet", "quality"])
def test_a_stage_trains_on_two_cards_from_the_command_line(stage, networks, tmp_path, two_simulated_cards):
    cards = ["accelerator=mlu_sim", "accelerator.devices=2"]
    done = train(*networks(stage), *cards, f"run_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{stage} on 2 x mlu (MLU590-M9, simulated), 32-true" in done.stdout
    assert "nan" not in done.stdout
    load_network(tmp_path / "run" / "checkpoints" / "last.ckpt", "expert" if stage == "syncnet" else "generator")


def test_a_sharded_run_goes_on_from_its_checkpoint(networks, tmp_path, two_simulated_cards):
    words = [*networks("generator"), "accelerator=mlu_sim", f"run_dir={tmp_path / 'run'}"]
    has_fsdp2 = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
    for steps, strategy in ((1, "fsdp"), (2, "fsdp2" if has_fsdp2 else "fsdp")):  # each reads what the other wrote
        done = train(*words, f"accelerator.strategy={strategy}", f"trainer.max_steps={steps}")
        assert done.returncode == 0, done.stderr[-3000:]
    assert "going on from" in done.stderr
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert checkpoint["optimizer_states"][0]["state"][0]["step"] == 2


def test_a_card_short_of_memory_is_one_sentence(networks, tmp_path, two_simulated_cards):
    words = [*networks("generator"), "accelerator=mlu_sim", f"run_dir={tmp_path / 'run'}"]
    short = train(*words, "accelerator.devices=1", ANCHOR_MLU_SIM_MEMORY_GB="0.02")
    assert short.returncode == 2
    assert "the card is short of memory (MLU out of memory. Tried to allocate" in short.stderr
    assert "Traceback" not in short.stderr
