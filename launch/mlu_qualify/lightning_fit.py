"""Items of the Lightning plugin itself: a Trainer on one card and on two, started as users start it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launch.mlu_qualify.card import images, mlu, small_net
from launch.mlu_qualify.outcome import Scene, item


def _fit(scene: Scene, precision: str, **arguments: Any) -> float:
    import lightning as L

    from launch.mlu import check_trainer, trainer_arguments

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def training_step(self, batch: Tensor) -> Tensor:
            assert batch.device.type == "mlu", f"a batch is on {batch.device}"
            return self.net(batch).float().square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    trainer = L.Trainer(
        **trainer_arguments("mlu", precision=precision, **arguments),
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=scene.folder,
    )
    module, dataset = Module(), images(16)
    trainer.fit(module, torch.utils.data.DataLoader(dataset, batch_size=4))  # type: ignore[arg-type]
    check_trainer(trainer)
    assert trainer.global_step == 3, f"{trainer.global_step} steps were taken, and 3 were asked for"
    weights = torch.cat([parameter.detach().cpu().flatten() for parameter in module.parameters()])
    assert bool(weights.isfinite().all()), "a weight is not finite"
    return float(weights.abs().sum())


@item("Trainer on one card", "three steps in every precision that the card has", timeout_s=180)
def one_card(scene: Scene) -> str:
    """The plugin's accelerator, strategy and precision."""
    precisions = ["32-true", "16-mixed", *(["bf16-mixed"] if mlu().is_bf16_supported() else [])]
    for precision in precisions:
        _fit(scene, precision, devices=1)
    return ", ".join(precisions)


@item("Trainer on 2 cards", "DDP by the plugin, processes as a launcher starts them", ranks=2, timeout_s=180)
def two_cards(scene: Scene) -> str:
    """Weights of both ranks after three steps."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(scene.port),
        RANK=str(scene.rank),
        LOCAL_RANK=str(scene.rank),
        WORLD_SIZE=str(scene.ranks),
        LOCAL_WORLD_SIZE=str(scene.ranks),
        GROUP_RANK="0",
        TORCHELASTIC_RUN_ID="qualify",
    )
    total = _fit(scene, "32-true", devices=scene.ranks, strategy="ddp")
    (Path(scene.folder) / f"weights-{scene.rank}").write_text(repr(total))
    torch.distributed.barrier(device_ids=[scene.rank])
    found = {(Path(scene.folder) / f"weights-{rank}").read_text() for rank in range(scene.ranks)}
    assert len(found) == 1, f"ranks hold different weights: sums {', '.join(sorted(found))}"
    return "weights the same on both after 3 steps"


@item("spawn", "processes started by torch.multiprocessing, as ddp_spawn does", timeout_s=180)
def spawned(scene: Scene) -> str:
    """A child that is spawned uses the card that its parent has open."""
    torch.ones(1, device="mlu")
    torch.multiprocessing.spawn(_child, nprocs=1)
    return "a spawned child computed on a card"


def _child(index: int) -> None:
    import torch_mlu  # noqa: F401

    assert torch.ones(2, device="mlu").sum().item() == 2
