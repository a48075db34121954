"""The classic networks in the four stages, one step each, narrow."""

import lightning as L
import pytest
import torch

from anchor.models import ClassicDiscriminator, ClassicGenerator, ClassicSyncNet
from datamodules.base import WindowDataModule
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule, SyncNetModule


class Data(WindowDataModule):
    """The shared datamodule over a stand-in source."""

    def __init__(self, source, **options):
        super().__init__(image_size=96, batch_size=2, **options)
        self.stand_in = source

    def open_source(self):
        return self.stand_in


def step(module, source, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_steps=1 if module.automatic_optimization else 2,
        accelerator="cpu",
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        **quiet,
    )
    trainer.fit(module, Data(source, **options))


def learnt(net, before):
    parts = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    return parts & {name for name, _ in net.named_children()}


@pytest.mark.parametrize("stage", ["generator", "finetune", "quality"])
def test_each_stage_teaches_the_parts_it_should(stage, numbered_clips):
    torch.manual_seed(0)
    net, expert = ClassicGenerator(width=4), ClassicSyncNet(width=4)
    module = {
        "generator": lambda: GeneratorModule(net=net, expert=expert, sync_start_step=0, warmup_steps=0),
        "finetune": lambda: FinetuneModule(net=net, expert=expert, warmup_steps=0),
        "quality": lambda: QualityModule(
            net=net, discriminator=ClassicDiscriminator(width=4), expert=expert, adversarial_start_step=0
        ),
    }[stage]()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    judged = {key: value.clone() for key, value in expert.state_dict().items()}
    step(module, numbered_clips(image_size=96))
    everything = {"identity_encoder", "speech_encoder", "face_decoder"}
    assert learnt(net, before) == ({"identity_encoder"} if stage == "finetune" else everything)
    assert all(torch.equal(value, judged[key]) for key, value in expert.state_dict().items())


@pytest.mark.parametrize("loss", ["bce", "info_nce"])
def test_the_expert_learns_with_either_loss(loss, numbered_clips):
    torch.manual_seed(0)
    net = ClassicSyncNet(width=4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    step(SyncNetModule(net=net, loss=loss, warmup_steps=0), numbered_clips(image_size=96), negatives_per_window=1)
    assert learnt(net, before) == {"mouth_encoder", "speech_encoder"}
