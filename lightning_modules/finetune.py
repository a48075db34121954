"""Stage 3: one person. Speech Encoder and Face Decoder stay as they are; the Identity Encoder is re-fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from anchor.batch import LipBatch
from anchor.losses import motion_loss, weighted_l1
from anchor.models import LipGenerator, SyncNet, describe, freeze
from anchor.ops.images import mouth_weights
from lightning_modules.common import (
    JitterRatio,
    Network,
    OptimizerFactory,
    adamw,
    as_network,
    check_lr,
    draw_mouths,
    judge_sync,
    remember,
    set_up_expert,
)
from lightning_modules.generator import validation_scores
from lightning_modules.ranks import shard_over_cards
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["FinetuneModule"]


class FinetuneModule(L.LightningModule):
    """Re-fit the Identity Encoder of ``net`` to one person by comparing how the mouth moves, real and drawn.

    Logs ``train/loss``, ``train/motion_loss``, ``train/l1`` and, with an expert, ``train/sync_loss`` every step;
    ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr``, ``val/copy_psnr`` (dB) and ``val/jitter_ratio``.

    Args:
        net: the base generator of stage 2; its Speech Encoder and Face Decoder are frozen here.
        expert: the frozen judge, or None.
        motion_weight: weight of the frame-to-frame comparison, the stage's own loss.
        l1_weight: weight of the pictures themselves; without it, colour would be free.
        sync_weight: the expert's say; 0 leaves it out.
        lr, warmup_steps, schedule: as in :class:`~lightning_modules.syncnet.SyncNetModule`.
    """

    mouth_weight_hW: Tensor
    expert: SyncNet | None

    def __init__(
        self,
        *,
        net: Network,
        expert: nn.Module | None = None,
        optimizer: OptimizerFactory = adamw,
        motion_weight: float = 1.0,
        l1_weight: float = 1.0,
        sync_weight: float = 0.01,
        mouth_weight: float = 4.0,
        lr: float = 5e-4,
        warmup_steps: int = 20,
        schedule: str | Mapping[str, Any] = "cosine",
    ) -> None:
        super().__init__()
        self.net: LipGenerator = as_network(net)  # type: ignore[assignment]
        self.freeze_parts()
        set_up_expert(self, expert)
        self.optimizer, self.lr, self.warmup_steps = optimizer, check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        self.motion_weight, self.l1_weight, self.sync_weight = motion_weight, l1_weight, sync_weight
        self.jitter_ratio = JitterRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        remember(self, {"stage": "finetune", "net": describe(self.net), "motion_weight": motion_weight, "lr": lr})

    def freeze_parts(self) -> None:
        """Only the Identity Encoder is left awake."""
        freeze(self.net.speech_encoder)
        freeze(self.net.face_decoder)

    def on_fit_start(self) -> None:
        """Once more: trainer.sync_batchnorm=true has put new norms in the place of frozen ones."""
        self.freeze_parts()

    def training_step(self, batch: LipBatch, batch_idx: int) -> Tensor:
        """Motion first, pictures beside it."""
        output, real = draw_mouths(self.net, batch)
        motion = motion_loss(output, real, self.mouth_weight_hW, batch["weight_B"])
        l1 = weighted_l1(output, real, self.mouth_weight_hW, batch["weight_B"])
        loss = self.motion_weight * motion + self.l1_weight * l1
        if self.expert is not None and self.sync_weight > 0:
            sync = judge_sync(self.expert, output, batch)
            loss = loss + self.sync_weight * sync
            self.log("train/sync_loss", sync, batch_size=len(output))
        self.log_dict({"train/loss": loss, "train/l1": l1}, batch_size=len(output))
        self.log("train/motion_loss", motion, batch_size=len(output), prog_bar=True)
        return loss

    def validation_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The fixed windows of the held-out minutes."""
        output, real = draw_mouths(self.net, batch)
        scores = validation_scores(output, real, batch, self.mouth_weight_hW, self.expert)
        self.jitter_ratio.update(output, real)
        self.log("val/jitter_ratio", self.jitter_ratio, batch_size=len(output))
        self.log_dict(scores, batch_size=len(output), sync_dist=True)

    def configure_model(self) -> None:
        """Under FSDP2 the cards share the network."""
        shard_over_cards(self, self.net)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Only the Identity Encoder learns."""
        return scheduled(
            self, self.optimizer(self.net.identity_encoder.parameters(), lr=self.lr), self.schedule, self.warmup_steps
        )
