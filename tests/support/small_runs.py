"""Trainings of a few steps on stand-in clips."""

import lightning as L

from datamodules.base import WindowDataModule


class Data(WindowDataModule):
    """The shared datamodule over a stand-in source."""

    def __init__(self, source, **options):
        super().__init__(**{"image_size": 32, "batch_size": 4, **options})
        self.stand_in = source

    def open_source(self):
        return self.stand_in


def fit(module, data, steps=3, ckpt_path=None, **options):
    """Train for so many optimizer steps, and validate after as many batches."""
    plain = {
        "max_steps": steps * (1 if module.automatic_optimization else 2),
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "check_val_every_n_epoch": None,
        "val_check_interval": steps,
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = L.Trainer(**{**plain, **quiet, "accelerator": "cpu", "use_distributed_sampler": False, **options})
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer
