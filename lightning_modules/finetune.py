"""Stage 3: one person. Speech Encoder and Face Decoder stay as they are; the Identity Encoder is re-fitted."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import edge_loss, jitter_loss, motion_loss, weighted_l1
from anchor.models import LipGenerator, SyncNet, describe, digest, freeze, keep_norms
from anchor.models.lips import LipReader
from anchor.ops.images import mouth_weights
from lightning_modules.common import (
    Network,
    OptimizerFactory,
    adamw,
    as_network,
    check_lr,
    compare_shapes,
    draw_and_compare,
    draw_mouths,
    judge_sync,
    remember,
    set_aside,
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

    With ``d`` the difference in time, ``w`` the weights of the mouth, ``J`` the amount of jitter, ``L`` the lips as
    their reader sees them and ``f`` the Identity Encoder's features, a step lowers ::

        motion_weight   * ( mean(w |d output - d real|) + second_weight * mean(w |d^2 output - d^2 real|) )
        + landmark_weight * the same of L(output) and L(real), unweighted
        + jitter_weight * | log(J(output) / J(real)) |
        + steady_weight * mean |d f - d f_base| / mean |d f_base|
        + l1_weight     * mean(w |output - real|)  +  edge_weight * the same of neighbouring pixels' differences
        + sync_weight   * (1 - cosine(expert's mouths, expert's speech))
        + shape_weight  * (1 - cosine(expert's output mouths, expert's real mouths))

    The first three lines are the method's stage: motion of the mouth in real and output frames decides. Their sources
    and exact forms stand at :func:`~anchor.losses.motion_loss` and :func:`~anchor.losses.jitter_loss`; the lips are
    those of :class:`~anchor.models.lips.LipReader`. The fourth, :func:`~anchor.losses.steady_loss`, is against learning
    by heart: a minute of one person has few poses, and an Identity Encoder left alone soon reads from the upper face
    which frame it sees, and draws that frame's mouth whatever is said. What it learns must be the same in all frames of
    a window. Norms keep the base's means and spreads for the same reason: those of one person's few windows would
    magnify every turn of the head. The last line reads the mouth's shape in five frames with the frozen expert.

    Logs ``train/loss``, ``train/motion_loss``, ``train/jitter_loss``, ``train/l1``, ``train/steady_loss`` where it has
    a weight, ``train/landmark_loss`` with a reader of lips and, with an expert, ``train/sync_loss`` and
    ``train/shape_loss`` every step; ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr`` and ``val/copy_psnr`` (dB), and
    ``val/jitter_ratio``. At the end it prints the hash of what is frozen, compared with that of the beginning.

    Args:
        net: the base generator of stage 2.
        expert: the frozen judge, or None.
        tune: ``identity`` freezes Speech Encoder and Face Decoder, as the method says; ``all`` lets everything learn,
            to compare.
        motion_weight, second_weight, landmark_weight, jitter_weight, steady_weight, l1_weight, edge_weight,
            sync_weight, shape_weight: as above; 0 leaves a term out. The landmark term needs a reader of the person's
            lips, which `anchor train` fits and sets aside as ``lips``.
        mouth_weight: how many times a pixel of the mouth's box counts.
        lr, warmup_steps, schedule: as in :class:`~lightning_modules.syncnet.SyncNetModule`.

    Raises:
        ConfigError: an unknown ``tune``.
    """

    mouth_weight_hW: Tensor
    expert: SyncNet | None
    base: LipGenerator | None
    lips: LipReader | None

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
        landmark_weight: float = 0.0,
        steady_weight: float = 0.1,
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
        knows_base = isinstance(net, nn.Module)  # a description comes without the weights to compare with
        set_aside(self, "base", copy.deepcopy(self.net) if steady_weight > 0 and knows_base else None)
        set_aside(self, "expert", expert)
        set_aside(self, "lips", None)
        self.freeze_parts()
        self.optimizer, self.lr, self.warmup_steps = optimizer, check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        self.motion_weight, self.second_weight, self.jitter_weight = motion_weight, second_weight, jitter_weight
        self.l1_weight, self.edge_weight = l1_weight, edge_weight
        self.sync_weight, self.shape_weight = sync_weight, shape_weight
        self.landmark_weight, self.steady_weight = landmark_weight, steady_weight
        self.jitter_ratio = JitterRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        remember(self, {"stage": "finetune", "net": describe(self.net), "tune": tune, "lr": lr})
        self._frozen_digest = ""

    def freeze_parts(self) -> None:
        """Only the Identity Encoder is left awake, and no norm."""
        if self.tune == "identity":
            freeze(self.net.speech_encoder)
            freeze(self.net.face_decoder)
        keep_norms(self.net)

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
        output, real, steady = draw_and_compare(self.net, self.base, batch)
        weights = self.mouth_weight_hW, batch["weight_B"]
        motion = self.compare_motion(output, real, *weights)
        terms = {
            "motion_loss": (self.motion_weight, motion),
            "jitter_loss": (self.jitter_weight, jitter_loss(output, real, *weights)),
            "l1": (self.l1_weight, weighted_l1(output, real, *weights)),
        }
        if steady is not None:
            terms["steady_loss"] = self.steady_weight, steady
        if self.lips is not None:
            self.lips.to(output.device)  # it is no part of the module, so no trainer moves it
            drawn_BTK, real_BTK = (
                self.lips(half.flatten(0, 1)).unflatten(0, half.shape[:2]) for half in (output, real)
            )
            moves = self.compare_motion(drawn_BTK, real_BTK, torch.ones_like(real_BTK[0, 0]), batch["weight_B"])
            terms["landmark_loss"] = self.landmark_weight, moves
        if self.expert is not None and self.sync_weight > 0:
            terms["sync_loss"] = self.sync_weight, judge_sync(self.expert, output, batch)
        if self.expert is not None and self.shape_weight > 0:
            terms["shape_loss"] = self.shape_weight, compare_shapes(self.expert, output, real, batch)
        loss = sum((weight * term for weight, term in terms.values()), output.new_zeros(()))
        loss = loss + self.edge_weight * edge_loss(output, real, batch["weight_B"])
        logged = {f"train/{name}": term for name, (_, term) in terms.items() if name != "motion_loss"}
        self.log_dict({"train/loss": loss, **logged}, batch_size=len(output))
        self.log("train/motion_loss", motion, batch_size=len(output), prog_bar=True)
        return loss

    def compare_motion(self, output: Tensor, real: Tensor, weight: Tensor, weight_B: Tensor) -> Tensor:
        """First and second differences in time of (B, T, ...), a 0-d mean over windows."""
        first, second = (motion_loss(output, real, weight, weight_B, order=order) for order in (1, 2))
        return first + self.second_weight * second

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
