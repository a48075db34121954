"""Stage 1: teach the expert that later judges the generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import MAX_SCALE, affine_loss, info_nce, pair_loss, pairwise_loss
from anchor.models import SyncNet, describe
from anchor.ops.images import lower_half, to_signed
from anchor.timing import WINDOW_FRAMES
from lightning_modules.common import Network, OptimizerFactory, adamw, as_network, check_lr, remember
from lightning_modules.loading import PlainLoading
from lightning_modules.ranks import gather_ranks
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["SyncNetModule"]

LOSSES = ("info_nce", "pairwise", "bce")
NEAR_FRAMES = 15  # up to here wrong speech counts as near: the farthest that validation compares with


class SyncNetModule(PlainLoading):
    """Teach ``net`` to tell matching speech from speech of another time or clip.

    Logs ``train/sync_loss`` every step; ``val/sync_loss``, ``val/pair_accuracy`` (true against wrong speech of the same
    clip, chance 0.5), ``val/foreign_accuracy`` (against other clips), ``val/cosine_true`` and ``val/cosine_wrong``.

    Args:
        net: a ``SyncNet`` or its description.
        loss: ``"info_nce"`` picks the right speech among those of the batch; ``"pairwise"`` asks of each of them
            whether it is right, and needs a ``net`` with ``affine``; for both the speech of all ranks counts. ``"bce"``
            asks of one wrong speech beside the right one and needs ``datamodule.negatives_per_window`` of at least 1:
            the classic of Wav2Lip with a ``positive`` net, or an ``affine`` one.
        foreign_weight: how much speech of other clips counts as a wrong answer for the first two; 0 leaves it out.
        near_weight: how much speech of the same clip from 5 to 15 frames away counts; farther speech counts 1.
        temperature: what cosines are divided by. None learns it from 0.1 on; a number from 0.01 to 1 stays.
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
        near_weight: float = 1.0,
        temperature: float | None = None,
        lr: float = 2e-3,
        warmup_steps: int = 50,
        schedule: str | Mapping[str, Any] = "cosine",
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ConfigError(f"module.loss={loss} is unknown. Choose one of {', '.join(LOSSES)}.")
        for name, weight in (("foreign_weight", foreign_weight), ("near_weight", near_weight)):
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight >= 0:
                raise ConfigError(f"module.{name}={weight} is no weight. Give a number from 0 on.")
        self.net: SyncNet = as_network(net)  # type: ignore[assignment]
        if loss == "pairwise" and self.net.bias is None:
            raise ConfigError("module.loss=pairwise learns what a cosine means: set model.expert.affine=true.")
        if loss == "bce" and self.net.bias is None and not self.net.positive:
            raise ConfigError(
                "module.loss=bce reads cosines as probabilities: set model.expert.positive=true, or affine=true to "
                "learn how."
            )
        has_scale = loss != "bce" or self.net.bias is not None
        if temperature is not None:
            _fix_temperature(self.net, temperature, has_scale)
        # What a loss does not use must not wait for a gradient: ranks would wait with it.
        self.net.log_scale.requires_grad_(has_scale and temperature is None)
        if self.net.bias is not None:
            self.net.bias.requires_grad_(loss != "info_nce")
        self.optimizer, self.loss = optimizer, loss
        self.foreign_weight, self.near_weight = foreign_weight, near_weight
        self.lr, self.warmup_steps = check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        remember(
            self,
            {
                "stage": "syncnet", "net": describe(self.net), "loss": loss, "lr": lr,
                "foreign_weight": foreign_weight, "near_weight": near_weight, "temperature": temperature,
            },
        )  # fmt: skip

    def training_step(self, batch: LipBatch, batch_idx: int) -> Tensor:
        """One step on windows and the speech of their batch."""
        mouths_BTChW = to_signed(lower_half(batch["faces_BTCHW"]))
        face_BD, speech_BD = self.net(mouths_BTChW, batch["mel_B1MS"])
        if self.loss == "bce":
            loss = self._one_by_one(face_BD, speech_BD, batch)
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
        if self.loss != "info_nce":
            wrong_loss = self._pairs(face_BD.repeat_interleave(K, 0), wrong_BKD.flatten(0, 1), 0.0)
            loss = 0.5 * (self._pairs(face_BD, speech_BD, 1.0) + wrong_loss)
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

    def _pairs(
        self, face_BD: Tensor, speech_BD: Tensor, in_sync: float | Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Are these pairs in sync, each asked by itself?"""
        in_sync_B = torch.as_tensor(in_sync, device=face_BD.device).expand(len(face_BD))
        if self.net.bias is None:
            return pair_loss(face_BD, speech_BD, in_sync_B, weight)
        return affine_loss(face_BD, speech_BD, in_sync_B, self.net.log_scale.exp(), self.net.bias, weight)

    def _one_by_one(self, face_BD: Tensor, speech_BD: Tensor, batch: LipBatch) -> Tensor:
        """Each window with its own speech and with the first of its wrong ones."""
        wrong_mels = batch["wrong_mels_BK1MS"]
        if wrong_mels.shape[1] == 0:
            raise ConfigError("module.loss=bce needs wrong speech: set datamodule.negatives_per_window=1.")
        wrong_BD = self.net.embed_speech(wrong_mels[:, 0])
        in_sync = torch.cat([torch.ones(len(face_BD)), torch.zeros(len(face_BD))]).to(face_BD.device)
        weight = batch["weight_B"].repeat(2)
        return self._pairs(torch.cat([face_BD, face_BD]), torch.cat([speech_BD, wrong_BD]), in_sync, weight)

    def _contrast(self, face_GD: Tensor, speech_GD: Tensor, batch: LipBatch) -> Tensor:
        """A loss of the global batch; every rank has all G windows, for a group may lie across the border of two."""
        weight_G = gather_ranks(batch["weight_B"])
        clip_G, frame_G = gather_ranks(torch.stack([batch["clip_B"], batch["frame_B"]], 1)).unbind(1)
        weight_GG = negative_weights(clip_G, frame_G, self.foreign_weight, self.near_weight)
        real_G = weight_G > 0
        weight_GG = weight_GG * real_G * real_G[:, None]  # what fills a batch up is nobody's wrong answer
        scale = self.net.log_scale.exp()
        if self.loss == "pairwise":
            assert self.net.bias is not None
            return pairwise_loss(face_GD, speech_GD, weight_GG, scale, self.net.bias, weight_G)
        return info_nce(face_GD, speech_GD, weight_GG, scale, weight_G)

    def _log_share(self, name: str, won_BK: Tensor, chosen_BK: Tensor, prog_bar: bool = False) -> None:
        """Of the batches of all ranks: Lightning counts a share of nothing as one of a batch of 1."""
        sums = torch.stack([won_BK[chosen_BK].sum().float(), chosen_BK.sum().float()])
        won, count = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        if count:
            self.log(name, won / count, batch_size=int(count), sync_dist=True, prog_bar=prog_bar)


def _fix_temperature(net: SyncNet, temperature: float, has_scale: bool) -> None:
    """Set what ``net`` divides cosines by.

    Raises:
        ConfigError: it is no such number, or the loss reads cosines as they are.
    """
    lowest = 1 / MAX_SCALE
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not lowest <= temperature <= 1:
        raise ConfigError(
            f"module.temperature={temperature} is no temperature. Give a number from {lowest:g} to 1, or null to learn "
            "it."
        )
    if not has_scale:
        raise ConfigError(
            f"module.temperature={temperature} has no use where the cosine is the probability: leave it out, or set "
            "model.expert.affine=true."
        )
    net.log_scale.data.fill_(-math.log(temperature))


def negative_weights(clip_B: Tensor, frame_B: Tensor, foreign_weight: float, near_weight: float = 1.0) -> Tensor:
    """``weight_BB`` of :func:`anchor.losses.info_nce`: 0 below five frames of the same clip.

    Up to 15 frames it is ``near_weight``, beyond 1.
    """
    same_BB = clip_B[:, None] == clip_B
    away_BB = (frame_B[:, None] - frame_B).abs()
    own_BB = torch.where(away_BB <= NEAR_FRAMES, near_weight, 1.0) * (away_BB >= WINDOW_FRAMES)
    return torch.where(same_BB, own_BB, torch.full_like(own_BB, foreign_weight))
