"""A run on a card that is stopped and gone on with: its scaler and its random numbers go on where they stood."""

import json
import os
import subprocess
import sys

import pytest
import torch

WORDS = [
    "experiment=syncnet", "accelerator=mlu_sim", "accelerator.devices=1", "accelerator.precision=16-mixed",
    "datamodule.speakers=4", "datamodule.val_speakers=1", "datamodule.batch_size=6", "datamodule.num_workers=0",
    "datamodule.seconds=2.0", "trainer.val_check_interval=4", "module.schedule=constant",
    "callbacks.last.every_n_train_steps=4",
    "model.expert.image_size=32", "model.expert.width=2", "model.expert.embedding_size=8",
]  # fmt: skip


def train(run_dir, steps):
    command = [sys.executable, "-m", "anchor", "train", *WORDS, f"run_dir={run_dir}", f"trainer.max_steps={steps}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return last, json.loads((run_dir / "result.json").read_text())


def held(value):
    """Every tensor and number in a part of a checkpoint."""
    if isinstance(value, dict):
        return {key: held(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [held(part) for part in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.slow
def test_a_run_in_half_precision_goes_on_bit_for_bit(tmp_path):
    whole, result = train(tmp_path / "whole", 8)
    train(tmp_path / "halves", 4)
    halves, result_of_halves = train(tmp_path / "halves", 8)
    scaler = next(value for key, value in whole.items() if "precision" in key.lower() or "MLU" in key)
    assert "scale" in scaler
    assert "_growth_tracker" in scaler
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert held(whole[key]) == held(halves[key]), key
    name = next(key for key in whole if whole[key] is scaler)
    assert held(scaler) == held(halves[name])
    assert result["metrics"] == result_of_halves["metrics"]
    assert result["consumed_keys_digest"] == result_of_halves["consumed_keys_digest"]
