"""A run's own record also says where the run ended."""

import json

import lightning as L
import pytest
import torch
from torch import nn

from lightning_modules.callbacks.record import MetricsRecord


class Stumbler(L.LightningModule):
    """Fails in its fourth step."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            raise RuntimeError("the card fell off")
        self.log("train/loss", self.scale.mean())
        return self.scale.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def test_a_run_that_fails_says_how_far_it_came_and_one_that_goes_on_forgets_it(tmp_path):
    record, module = MetricsRecord(str(tmp_path), every_n_steps=2), Stumbler()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_steps=9, accelerator="cpu", callbacks=[record], enable_model_summary=False, **quiet)
    with pytest.raises(RuntimeError, match="the card fell off"):
        trainer.fit(module, torch.utils.data.DataLoader(range(9)))

    def lines():
        return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]

    assert [(line["step"], len(line)) for line in lines()] == [(2, 4), (3, 3)]
    ended_s = lines()[-1]["seconds"]
    record.on_train_start(trainer, module)
    assert [line["step"] for line in lines()] == [2]
    record.on_exception(trainer, module, RuntimeError())
    assert lines()[-1]["seconds"] >= ended_s  # the time goes on from there
