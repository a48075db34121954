"""What an engineer switches on by configuration, as the command builds it."""

import inspect
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf

from anchor.models import load_network, read_checkpoint
from launch.worker import run

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def start(config, run_dir):
    run_dir.mkdir(exist_ok=True)
    path = run_dir / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    return run(path)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_accumulates_averages_and_stops_early(experiment, composed, tmp_path):
    words = ["callbacks=[ema,early_stopping,top]", "trainer.accumulate_grad_batches=2", "module.schedule=linear"]
    ends = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=100", "trainer.max_steps=50"]
    small = ["datamodule.batch_size=4", "datamodule.windows_per_clip=2", "datamodule.val_windows_per_clip=2"]
    config = composed(experiment, *words, *ends, *small, "trainer.val_check_interval=2")
    assert start(config, tmp_path / "run")["steps"] == 4  # the second validation is no better than the first
    folder = tmp_path / "run" / "checkpoints"
    last = read_checkpoint(folder / "last.ckpt")
    optimizers = 2 if experiment == "quality" else 1
    assert last["global_step"] == 2 * optimizers
    assert last["callbacks"]["WeightAverage"] == {"updates": 2}
    tops = sorted(path.name for path in (folder / "top").iterdir())
    assert tops == [f"step-{optimizers}.ckpt", f"step-{2 * optimizers}.ckpt"]
    kind = "expert" if experiment == "syncnet" else "generator"
    raw, averaged = (load_network(folder / "best.ckpt", kind, weights).state_dict() for weights in ("raw", "ema"))
    assert any(not torch.equal(raw[name], averaged[name]) for name in raw)


def test_the_best_checkpoint_is_the_best_by_its_averaged_weights(composed, tmp_path):
    config = composed(
        "syncnet", "callbacks=ema", "trainer.max_steps=3", "trainer.val_check_interval=3", "module.lr=0.1"
    )
    config["datamodule"]["val_batch_size"] = 8
    start(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    recorded = next(line for line in lines if "val/sync_loss" in line)["val/sync_loss"]
    found = {}
    for weights in ("raw", "ema"):
        from datamodules import SyntheticDataModule
        from lightning_modules import SyncNetModule

        module = SyncNetModule(net=load_network(tmp_path / "run" / "checkpoints" / "best.ckpt", "expert", weights))
        options = {key: value for key, value in config["datamodule"].items() if key != "_target_"}
        data = SyntheticDataModule(**{**options, "image_size": 96})
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
        found[weights] = trainer.validate(module, data, verbose=False)[0]["val/sync_loss"]
    assert found["ema"] == pytest.approx(recorded, rel=1e-5)
    assert found["raw"] != pytest.approx(recorded, rel=1e-3)


def test_every_argument_of_the_trainer_is_a_key():
    listed = set(OmegaConf.load(CONF / "trainer" / "default.yaml"))
    elsewhere = {"accelerator", "devices", "num_nodes", "callbacks", "logger"}  # groups of their own
    assert listed == set(inspect.signature(L.Trainer.__init__).parameters) - {"self"} - elsewhere
