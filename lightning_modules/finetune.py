"""Stage 3: one person. Speech Encoder and Face Decoder stay as they are; the Identity Encoder is re-fitted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal, get_args

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import edge_loss, jitter_loss, motion_loss, weighted_l1
from anchor.models import LipGenerator, SyncNet, describe, digest, freeze
from anchor.ops.images import mouth_weights
from lightning_modules.common import (
    Network,
    OptimizerFactory,
    adamw,
    as_network,
    check_lr,
    compare_shapes,
    draw_mouths,
    judge_sync,
    remember,
    set_up_expert,
)
from lightning_modules.generator import validation_scores
from lightning_modules.loading import PlainLoading
from lightning_modules.ranks import shard_over_cards
from lightning_modules.ratios import JitterRatio
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["FinetuneModule"]

TuneKind = Literal["identity", "all"]


class FinetuneModule(PlainLoading):
    """Re-fit the Identity Encoder of ``net`` to one person by comparing how the mouth moves, real and drawn.

    With ``d`` the difference in time, ``w`` the weights of the mouth and ``J`` the amount of jitter, a step lowers ::

        motion_weight   * ( mean(w |d output - d real|) + second_weight * mean(w |d^2 output - d^2 real|) )
        + jitter_weight * | log(J(output) / J(real)) |
        + l1_weight     * mean(w |output - real|)  +  edge_weight * the same of neighbouring pixels' differences
        + sync_weight   * (1 - cosine(expert's mouths, expert's speech))
        + shape_weight  * (1 - cosine(expert's output mouths, expert's real mouths))

    The first two lines are the method's stage: motion of the mouth in real and output frames decides. Their sources and
    exact forms stand at :func:`~anchor.losses.motion_loss` and :func:`~anchor.losses.jitter_loss`. The last line reads
    the mouth's shape in five frames with the frozen expert, as landmarks would, where no landmarks are known.

    Logs ``train/loss``, ``train/motion_loss``, ``train/jitter_loss``, ``train/l1`` and, with an expert,
    ``train/sync_loss`` and ``train/shape_loss`` every step; ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr`` and
    ``val/copy_psnr`` (dB), and ``val/jitter_ratio``. At the end it prints the hash of what is frozen, compared with
    that of the beginning.

    Args:
        net: the base generator of stage 2.
        expert: the frozen judge, or None.
        tune: ``identity`` freezes Speech Encoder and Face Decoder, as the method says; ``all`` lets everything learn,
            to compare.
        motion_weight, second_weight, jitter_weight, l1_weight, edge_weight, sync_weight, shape_weight: as above; 0
            leaves a term out.
        mouth_weight: how many times a pixel of the mouth's box counts.
        lr, warmup_steps, schedule: as in :class:`~lightning_modules.syncnet.SyncNetModule`.

    Raises:
        ConfigError: an unknown ``tune``.
    """

    mouth_weight_hW: Tensor
    expert: SyncNet | None

    def __init__(
        self,
        *,
        net: Network,
        expert: nn.Module | None = None,
        optimizer: OptimizerFactory = adamw,
        tune: TuneKind = "identity",
        motion_weight: float = 1.0,
        second_weight: float = 0.5,
        jitter_weight: float = 0.15,
        l1_weight: float = 1.0,
        edge_weight: float = 0.2,
        sync_weight: float = 0.01,
        shape_weight: float = 0.02,
        mouth_weight: float = 8.0,
        lr: float = 1e-3,
        warmup_steps: int = 20,
        schedule: str | Mapping[str, Any] = "cosine",
    ) -> None:
        super().__init__()
        if tune not in get_args(TuneKind):
            raise ConfigError(f"module.tune={tune} is no choice. Choose one of {', '.join(get_args(TuneKind))}.")
        self.net: LipGenerator = as_network(net)  # type: ignore[assignment]
        self.tune: TuneKind = tune
        self.freeze_parts()
        set_up_expert(self, expert)
        self.optimizer, self.lr, self.warmup_steps = optimizer, check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        self.motion_weight, self.second_weight, self.jitter_weight = motion_weight, second_weight, jitter_weight
        self.l1_weight, self.edge_weight = l1_weight, edge_weight
        self.sync_weight, self.shape_weight = sync_weight, shape_weight
        self.jitter_ratio = JitterRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        remember(self, {"stage": "finetune", "net": describe(self.net), "tune": tune, "lr": lr})
        self._frozen_digest = ""

    def freeze_parts(self) -> None:
        """Only the Identity Encoder is left awake."""
        if self.tune == "identity":
            freeze(self.net.speech_encoder)
            freeze(self.net.face_decoder)

    def on_fit_start(self) -> None:
        """Once more: trainer.sync_batchnorm=true has put new norms in the place of frozen ones."""
        self.freeze_parts()

    def on_train_start(self) -> None:
        """Take the fingerprint of what must not change, as it is on its device."""
        self._frozen_digest = digest(self.net.speech_encoder, self.net.face_decoder)

    def on_train_end(self) -> None:
        """Compare fingerprints and say so."""
        if self.tune != "identity":
            return
        found = digest(self.net.speech_encoder, self.net.face_decoder)
        assert found == self._frozen_digest, f"frozen parts have changed: {self._frozen_digest} -> {found}"
        if self.trainer.is_global_zero:
            print(f"speech_encoder, face_decoder unchanged: sha256 {found}", file=sys.stderr, flush=True)

    def training_step(self, batch: LipBatch, batch_idx: int) -> Tensor:
        """Motion first, pictures beside it."""
        output, real = draw_mouths(self.net, batch)
        weights = self.mouth_weight_hW, batch["weight_B"]
        motion = motion_loss(output, real, *weights)
        motion = motion + self.second_weight * motion_loss(output, real, *weights, order=2)
        jitter, l1 = jitter_loss(output, real, *weights), weighted_l1(output, real, *weights)
        loss = self.motion_weight * motion + self.jitter_weight * jitter + self.l1_weight * l1
        loss = loss + self.edge_weight * edge_loss(output, real, batch["weight_B"])
        if self.expert is not None and self.sync_weight > 0:
            sync = judge_sync(self.expert, output, batch)
            loss = loss + self.sync_weight * sync
            self.log("train/sync_loss", sync, batch_size=len(output))
        if self.expert is not None and self.shape_weight > 0:
            shape = compare_shapes(self.expert, output, real, batch)
            loss = loss + self.shape_weight * shape
            self.log("train/shape_loss", shape, batch_size=len(output))
        self.log_dict({"train/loss": loss, "train/jitter_loss": jitter, "train/l1": l1}, batch_size=len(output))
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
        """Only the Identity Encoder learns, unless everything was to."""
        learning = self.net.identity_encoder if self.tune == "identity" else self.net
        return scheduled(self, self.optimizer(learning.parameters(), lr=self.lr), self.schedule, self.warmup_steps)
