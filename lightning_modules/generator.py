"""Stage 2: draw mouths that fit the speech, judged by the frozen expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from anchor.batch import LipBatch
from anchor.losses import edge_loss, held_loss, weighted_l1
from anchor.metrics import psnr
from anchor.models import LipGenerator, SyncNet, describe
from anchor.ops.images import lower_half, mouth_weights, to_signed
from lightning_modules.common import (
    Network,
    OptimizerFactory,
    Ramp,
    adamw,
    as_network,
    check_lr,
    draw_and_hold,
    draw_mouths,
    judge_sync,
    remember,
    set_up_expert,
)
from lightning_modules.loading import PlainLoading
from lightning_modules.ranks import shard_over_cards
from lightning_modules.ratios import JitterRatio
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["GeneratorModule"]


class GeneratorModule(PlainLoading):
    """Teach ``net`` to redraw the lower half of a face from its speech.

    Logs ``train/loss``, ``train/l1``, ``train/sync_loss`` and ``train/sync_weight`` every step, ``train/held_loss``
    where it has a weight; ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr`` and ``val/copy_psnr`` (of the first
    reference in its place; dB) and ``val/jitter_ratio`` (1 = moves as the real mouth does).

    Args:
        net: a ``LipGenerator`` or its description.
        expert: the frozen judge of stage 1; None trains on pictures alone.
        speech_from_expert: start the Speech Encoder from the expert's, where their shapes agree; of an expert that
            hears longer windows all but the last layer fits.
        mouth_weight: how many times a pixel of the mouth's box counts.
        edge_weight: weight of the edge loss beside L1.
        sync_weight, sync_start_step, sync_ramp_steps: the expert's say: none at first, then a ramp to its full weight;
            in optimizer steps.
        held_weight: of the movement that mouths have left when their speech stands still
            (:func:`~anchor.losses.held_loss`), against learning one person's frames by heart; 0 leaves it out.
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
        speech_from_expert: bool = True,
        mouth_weight: float = 8.0,
        edge_weight: float = 0.2,
        sync_weight: float = 0.05,
        sync_start_step: int = 400,
        sync_ramp_steps: int = 100,
        held_weight: float = 0.0,
        lr: float = 3e-3,
        warmup_steps: int = 50,
        schedule: str | Mapping[str, Any] = "cosine",
    ) -> None:
        super().__init__()
        self.net: LipGenerator = as_network(net)  # type: ignore[assignment]
        set_up_expert(self, expert)
        if speech_from_expert and isinstance(expert, SyncNet):
            start_from(self.net.speech_encoder, expert.speech_encoder)
        self.optimizer, self.lr, self.warmup_steps = optimizer, check_lr(lr), warmup_steps
        self.schedule = as_schedule(schedule)
        self.edge_weight, self.held_weight = edge_weight, held_weight
        self.sync_ramp = Ramp(sync_weight, sync_start_step, sync_ramp_steps)
        self.jitter_ratio = JitterRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        remember(self, {"stage": "generator", "net": describe(self.net), "speech_from_expert": False, "lr": lr})

    def training_step(self, batch: LipBatch, batch_idx: int) -> Tensor:
        """L1 and edges everywhere, the expert's opinion on top."""
        output, real, held = draw_and_hold(self.net, batch, self.held_weight > 0)
        l1 = weighted_l1(output, real, self.mouth_weight_hW, batch["weight_B"])
        loss = l1 + self.edge_weight * edge_loss(output, real, batch["weight_B"])
        if held is not None:
            moved = held_loss(held, self.mouth_weight_hW, batch["weight_B"][: len(held)])
            loss = loss + self.held_weight * moved
            self.log("train/held_loss", moved, batch_size=len(output))
        weight = self.sync_ramp.value()
        if self.expert is not None and weight > 0:
            sync = judge_sync(self.expert, output, batch)
            loss = loss + weight * sync
            self.log("train/sync_loss", sync, batch_size=len(output), prog_bar=True)
        scores: dict[str, Tensor | float] = {"train/loss": loss, "train/sync_weight": weight}
        self.log_dict(scores, batch_size=len(output))
        self.log("train/l1", l1, batch_size=len(output), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """The ramp counts what is learnt from, not the batches of an accumulation."""
        self.sync_ramp.advance()

    def validation_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The fixed windows, drawn with their own speech."""
        output, real = draw_mouths(self.net, batch)
        scores = validation_scores(output, real, batch, self.mouth_weight_hW, self.expert)
        self.jitter_ratio.update(output, real)
        self.log("val/jitter_ratio", self.jitter_ratio, batch_size=len(output))
        self.log_dict(scores, batch_size=len(output), sync_dist=True)

    def configure_model(self) -> None:
        """Under FSDP2 the cards share the network."""
        shard_over_cards(self, self.net)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """One optimizer, its learning rate on the schedule."""
        return scheduled(self, self.optimizer(self.net.parameters(), lr=self.lr), self.schedule, self.warmup_steps)


def validation_scores(
    output: Tensor, real: Tensor, batch: LipBatch, weight_hW: Tensor, expert: SyncNet | None
) -> dict[str, Tensor]:
    """What the three stages after the expert log on the fixed validation windows, as a mean over the batch."""
    copied = lower_half(to_signed(batch["references_BCHW"][:, :3]))[:, None].expand_as(real)
    scores = {
        "val/l1": weighted_l1(output, real, weight_hW),
        "val/mouth_psnr": psnr(output, real).mean(),
        "val/copy_psnr": psnr(copied, real).mean(),
    }
    if expert is not None:
        scores["val/sync_loss"] = judge_sync(expert, output, batch)
    return scores


def start_from(encoder: nn.Module, expert_encoder: nn.Module) -> bool:
    """Copy the expert's weights where all shapes agree, or all but the last layer's; says whether it did."""
    own, theirs = encoder.state_dict(), expert_encoder.state_dict()
    if own.keys() != theirs.keys():
        return False
    last = next(reversed(own)).rpartition(".")[0]
    fitting = {key: value for key, value in theirs.items() if value.shape == own[key].shape}
    if any(key.rpartition(".")[0] != last for key in own.keys() - fitting.keys()):
        return False
    encoder.load_state_dict({**own, **fitting})
    return True
