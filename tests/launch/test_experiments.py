"""Every experiment in conf/ is composed, built and stepped once: no configuration can rot."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from anchor.models import load_network
from launch.worker import run

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def start(config, run_dir):
    run_dir.mkdir(exist_ok=True)
    path = run_dir / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    return run(path)


def test_the_four_stages_are_there():
    assert {"syncnet", "generator", "finetune", "quality"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_steps_once(experiment, composed, tmp_path):
    result = start(composed(experiment), tmp_path / "run")
    assert result["steps"] == 1
    assert all(torch.isfinite(torch.tensor(value)) for value in result["metrics"].values())
    assert composed(experiment)["monitor"] in result["metrics"]
    load_network(result["checkpoint"], "expert" if experiment == "syncnet" else "generator")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(key.startswith("val/") for line in lines for key in line)


@pytest.mark.parametrize("model", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_model_steps_once(model, composed, tmp_path):
    start(composed("generator", f"model={model}", "module.expert=null"), tmp_path / "run")
    start(composed("syncnet", f"model={model}", run_dir=tmp_path / "expert"), tmp_path / "expert")


def test_the_classic_loss_is_a_choice(composed, tmp_path):
    classic = ["module.loss=bce", "model.expert.positive=true", "datamodule.negatives_per_window=1"]
    assert start(composed("syncnet", *classic), tmp_path / "run")["metrics"]["val/sync_loss"] > 0


def test_a_run_found_in_its_folder_goes_on(composed, tmp_path):
    start(composed("generator", "trainer.max_steps=2"), tmp_path / "run")
    config = composed("generator", "trainer.max_steps=3")
    assert start(config, tmp_path / "run")["steps"] == 3
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(checkpoint["state_dict"]["sync_ramp.step"]) == 3
    assert checkpoint["global_step"] == 3
    assert start({**config, "resume": "none"}, tmp_path / "run")["steps"] == 3
