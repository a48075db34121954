"""Every experiment in conf/ is composed, built and stepped once: no configuration can rot."""

import json

import pytest
import torch
from started_runs import CONF, EXPERIMENTS, start

from anchor.errors import CheckpointError, ConfigError
from anchor.models import load_network


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
    words = [f"model={model}", "datamodule.batch_size=1", "module.expert=null"]
    drawn = start(composed("generator", *words), tmp_path / "run")
    words = [f"model={model}", "datamodule.batch_size=15", "datamodule.val_windows_per_clip=2"]
    judged = start(composed("syncnet", *words, run_dir=tmp_path / "expert"), tmp_path / "expert")
    assert drawn["steps"] == judged["steps"] == 1


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("accelerator", sorted(path.stem for path in (CONF / "accelerator").glob("*.yaml")))
def test_every_machine_can_share_every_experiments_batch(experiment, accelerator, composed):
    data = composed(experiment, f"accelerator={accelerator}")
    devices = data["accelerator"]["devices"]
    groups = data["datamodule"]["batch_size"] // data["datamodule"]["windows_per_clip"]
    assert devices == "auto" or groups % devices == 0


def test_a_run_of_another_network_is_not_gone_on_from(composed, tmp_path):
    start(composed("syncnet"), tmp_path / "run")
    with pytest.raises(CheckpointError, match="its net is"):
        start(composed("syncnet", "model.expert.width=8"), tmp_path / "run")
    with pytest.raises(CheckpointError, match="its stage is"):
        start(composed("generator"), tmp_path / "run")


def test_the_record_has_each_step_once_after_a_resume(composed, tmp_path):
    every = "callbacks.record.every_n_steps=1"
    start(composed("syncnet", "trainer.max_steps=3", every), tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"step": 9, "seconds": 1.0, "train/sync_loss": 0}\n')
    start(composed("syncnet", "trainer.max_steps=5", every), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/sync_loss" in line] == [1, 2, 3, 4, 5]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


@pytest.mark.parametrize(
    ("change", "says"), [("module.lr=abc", "learning rate"), ("trainer.gradient_clip_val=x", "trainer: ")]
)
def test_values_that_cannot_be_are_answered(change, says, composed, tmp_path):
    with pytest.raises(ConfigError, match=says):
        start(composed("syncnet", change), tmp_path / "run")


def test_the_classic_loss_is_a_choice(composed, tmp_path):
    with pytest.raises(ConfigError, match=r"model.expert.positive=true"):
        start(composed("syncnet", "module.loss=bce"), tmp_path / "run")
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
