"""Stage 1: teach the expert that later judges the generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import info_nce, pair_loss
from anchor.models import SyncNet, describe
from anchor.ops.images import lower_half, to_signed
from anchor.timing import WINDOW_FRAMES
from lightning_modules.common import Network, OptimizerFactory, adamw, as_network, check_lr, remember
from lightning_modules.loading import PlainLoading
from lightning_modules.ranks import gather_ranks
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["SyncNetModule"]


class SyncNetModule(PlainLoading):
    """Teach ``net`` to tell matching speech from speech of another time or clip.

    Logs ``train/sync_loss`` every step; ``val/sync_loss``, ``val/pair_accuracy`` (true against wrong speech of the same
    clip, chance 0.5), ``val/foreign_accuracy`` (against other clips), ``val/cosine_true`` and ``val/cosine_wrong``.

    Args:
        net: a ``SyncNet`` or its description.
        loss: ``"info_nce"`` picks the right speech among those of the batch; ``"bce"`` is the classic of Wav2Lip, which
            needs ``datamodule.negatives_per_window`` of at least 1 and about five times as long.
        foreign_weight: how much speech of other clips counts as a wrong answer for ``info_nce``; 0 leaves it out.
        lr, warmup_steps, schedule: peak learning rate, steps of linear warm-up, and the shape after it: the name of a
            :class:`~lightning_modules.schedules.Schedule`, or its name and numbers.
    """

    def __init__(
        self,
        *,
        net: Network,
        optimizer: OptimizerFactory = adamw,
        loss: str = "info_nce",
        foreign_weight: float = 0.0,
        lr: float = 2e-3,
        warmup_steps: int = 50,
        schedule: str | Mapping[str, Any] = "cosine",
    ) -> None:
        super().__init__()
        if loss not in ("info_nce", "bce"):
            raise ConfigError(f"module.loss={loss} is unknown. Choose info_nce or bce.")
        self.net: SyncNet = as_network(net)  # type: ignore[assignment]
        if loss == "bce" and not self.net.positive:
            raise ConfigError("module.loss=bce reads cosines as probabilities: set model.expert.positive=true.")
        self.net.log_scale.requires_grad_(loss == "info_nce")  # bce has no temperature, and ranks wait for gradients
        self.optimizer, self.loss, self.foreign_weight = optimizer, loss, foreign_weight
        self.lr, self.warmup_steps = check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        remember(
            self,
            {"stage": "syncnet", "net": describe(self.net), "loss": loss, "foreign_weight": foreign_weight, "lr": lr},
        )

    def training_step(self, batch: LipBatch, batch_idx: int) -> Tensor:
        """One step on windows and the speech of their batch."""
        mouths_BTChW = to_signed(lower_half(batch["faces_BTCHW"]))
        face_BD, speech_BD = self.net(mouths_BTChW, batch["mel_B1MS"])
        if self.loss == "bce":
            loss = self._classic(face_BD, speech_BD, batch)
        else:
            loss = self._contrast(gather_ranks(face_BD), gather_ranks(speech_BD), batch)
        self.log("train/sync_loss", loss, prog_bar=True, batch_size=len(face_BD))
        return loss

    def validation_step(self, batch: LipBatch, batch_idx: int) -> None:
        """Each window alone against its own fixed wrong speeches, so the batch size does not matter."""
        face_BD, speech_BD = self.net(to_signed(lower_half(batch["faces_BTCHW"])), batch["mel_B1MS"])
        B, K = batch["is_foreign_BK"].shape
        wrong_BKD = self.net.embed_speech(batch["wrong_mels_BK1MS"].flatten(0, 1)).unflatten(0, (B, K))
        true_B1 = (face_BD * speech_BD).sum(1, keepdim=True)
        wrong_BK = (face_BD[:, None] * wrong_BKD).sum(2)
        if self.loss == "bce":
            loss = 0.5 * (
                pair_loss(face_BD, speech_BD, torch.ones_like(true_B1[:, 0]))
                + pair_loss(
                    face_BD.repeat_interleave(K, 0), wrong_BKD.flatten(0, 1), torch.zeros_like(wrong_BK).flatten()
                )
            )
        else:
            logits = self.net.log_scale.exp() * torch.cat([true_B1, wrong_BK], 1)
            loss = F.cross_entropy(logits.float(), torch.zeros(B, dtype=torch.long, device=logits.device))
        won_BK = (true_B1 > wrong_BK).float() + 0.5 * (true_B1 == wrong_BK).float()
        foreign_BK = batch["is_foreign_BK"]
        self._log_share("val/pair_accuracy", won_BK, ~foreign_BK, prog_bar=True)
        self._log_share("val/foreign_accuracy", won_BK, foreign_BK)
        scores = {"val/sync_loss": loss, "val/cosine_true": true_B1.mean(), "val/cosine_wrong": wrong_BK.mean()}
        self.log_dict(scores, batch_size=B, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """One optimizer, its learning rate on the schedule."""
        return scheduled(self, self.optimizer(self.net.parameters(), lr=self.lr), self.schedule, self.warmup_steps)

    def _classic(self, face_BD: Tensor, speech_BD: Tensor, batch: LipBatch) -> Tensor:
        wrong_mels = batch["wrong_mels_BK1MS"]
        if wrong_mels.shape[1] == 0:
            raise ConfigError("module.loss=bce needs wrong speech: set datamodule.negatives_per_window=1.")
        wrong_BD = self.net.embed_speech(wrong_mels[:, 0])
        in_sync = torch.cat([torch.ones(len(face_BD)), torch.zeros(len(face_BD))]).to(face_BD.device)
        weight = batch["weight_B"].repeat(2)
        return pair_loss(torch.cat([face_BD, face_BD]), torch.cat([speech_BD, wrong_BD]), in_sync, weight)

    def _contrast(self, face_GD: Tensor, speech_GD: Tensor, batch: LipBatch) -> Tensor:
        """InfoNCE of the global batch; every rank has all G windows, for a group may lie across the border of two."""
        weight_G = gather_ranks(batch["weight_B"])
        clip_G, frame_G = gather_ranks(torch.stack([batch["clip_B"], batch["frame_B"]], 1)).unbind(1)
        weight_GG = negative_weights(clip_G, frame_G, self.foreign_weight)
        real_G = weight_G > 0
        weight_GG = weight_GG * real_G * real_G[:, None]  # what fills a batch up is nobody's wrong answer
        return info_nce(face_GD, speech_GD, weight_GG, self.net.log_scale.exp(), weight_G)

    def _log_share(self, name: str, won_BK: Tensor, chosen_BK: Tensor, prog_bar: bool = False) -> None:
        """Of the batches of all ranks: Lightning counts a share of nothing as one of a batch of 1."""
        sums = torch.stack([won_BK[chosen_BK].sum().float(), chosen_BK.sum().float()])
        won, count = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        if count:
            self.log(name, won / count, batch_size=int(count), sync_dist=True, prog_bar=prog_bar)


def negative_weights(clip_B: Tensor, frame_B: Tensor, foreign_weight: float) -> Tensor:
    """``weight_BB`` of :func:`anchor.losses.info_nce`: 1 in the same clip, 0 where two windows overlap."""
    same_BB = clip_B[:, None] == clip_B
    apart_BB = (frame_B[:, None] - frame_B).abs() >= WINDOW_FRAMES
    return torch.where(same_BB, apart_BB.float(), torch.full_like(apart_BB, foreign_weight, dtype=torch.float32))
