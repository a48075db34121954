"""Stage 4: sharper pictures, against a discriminator that judges image quality and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from anchor.batch import LipBatch
from anchor.losses import edge_loss, hinge_discriminator_loss, hinge_generator_loss, weighted_l1
from anchor.models import LipGenerator, PatchDiscriminator, SyncNet, describe, without_gradients
from anchor.ops.images import mouth_weights
from lightning_modules.by_hand import add_gradients, check_accumulation, check_clipping, step_beside
from lightning_modules.callbacks.place import accumulation_of, batches_seen
from lightning_modules.common import (
    JitterRatio,
    Network,
    OptimizerFactory,
    Ramp,
    adamw,
    as_network,
    check_lr,
    draw_mouths,
    judge_sync,
    remember,
    set_up_expert,
)
from lightning_modules.generator import validation_scores
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["QualityModule"]


class QualityModule(L.LightningModule):
    """Sharpen ``net`` (manual optimisation, two optimizers) while the frozen expert keeps it in sync.

    Logs ``train/d_loss``, ``train/d_real``, ``train/d_fake``, ``train/adversarial_loss``, ``train/l1``,
    ``train/sync_loss`` and ``train/batches`` every step (``global_step`` counts both optimizers: two a batch);
    ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr``, ``val/copy_psnr`` (dB) and ``val/jitter_ratio``.

    Args:
        net: the generator of an earlier stage.
        discriminator: a ``PatchDiscriminator`` or its description; it sees lower halves, never speech.
        expert: the frozen judge, or None.
        adversarial_weight, adversarial_start_step, adversarial_ramp_steps: the discriminator learns alone first; in
            optimizer steps.
        sync_weight: the expert's say.
        lr, discriminator_lr, warmup_steps, schedule: learning rates of the two, and how both run.
        accumulate_grad_batches: batches whose gradients make one step of each network; the discriminator steps before
            the generator learns from the last of them.
        gradient_clip_val, gradient_clip_algorithm: for each network; ``"norm"`` or ``"value"``, None clips nothing.
    """

    num_optimizers = 2
    mouth_weight_hW: Tensor
    expert: SyncNet | None

    def __init__(
        self,
        *,
        net: Network,
        discriminator: Network,
        expert: nn.Module | None = None,
        optimizer: OptimizerFactory = adamw,
        adversarial_weight: float = 0.03,
        adversarial_start_step: int = 50,
        adversarial_ramp_steps: int = 100,
        sync_weight: float = 0.05,
        edge_weight: float = 0.4,
        mouth_weight: float = 4.0,
        lr: float = 5e-4,
        discriminator_lr: float = 5e-4,
        warmup_steps: int = 0,
        schedule: str | Mapping[str, Any] = "constant",
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = 1.0,
        gradient_clip_algorithm: str | None = "norm",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.schedule, self.warmup_steps = as_schedule(schedule), warmup_steps
        self.accumulate_grad_batches = check_accumulation(accumulate_grad_batches)
        self.clip_val, self.clip_algorithm = check_clipping(gradient_clip_val, gradient_clip_algorithm)
        self.net: LipGenerator = as_network(net)  # type: ignore[assignment]
        self.discriminator: PatchDiscriminator = as_network(discriminator)  # type: ignore[assignment]
        set_up_expert(self, expert)
        self.optimizer, self.lr, self.discriminator_lr = optimizer, check_lr(lr), check_lr(discriminator_lr)
        self.sync_weight, self.edge_weight = sync_weight, edge_weight
        self.adversarial_ramp = Ramp(adversarial_weight, adversarial_start_step, adversarial_ramp_steps)
        self.jitter_ratio = JitterRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        remember(
            self,
            {"stage": "quality", "net": describe(self.net), "discriminator": describe(self.discriminator), "lr": lr},
        )

    def training_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The discriminator's turn, then the generator's."""
        output, real = draw_mouths(self.net, batch)
        generator_optimizer, discriminator_optimizer = cast("list[Optimizer]", self.optimizers())
        self.step_discriminator(discriminator_optimizer, output.detach(), real, batch["weight_B"])
        self.step_generator(generator_optimizer, output, real, batch)
        if accumulation_of(self.trainer).is_last:
            self.adversarial_ramp.advance()
            for schedule in cast("list[LRScheduler]", self.lr_schedulers()):
                schedule.step()
        self.log("train/batches", float(batches_seen(self.trainer)), batch_size=len(output))

    def step_discriminator(self, optimizer: Optimizer, output: Tensor, real: Tensor, weight_B: Tensor) -> None:
        """Real pictures up, drawn ones down."""
        real_score, fake_score = self.discriminator(real.flatten(0, 1)), self.discriminator(output.flatten(0, 1))
        loss = hinge_discriminator_loss(real_score, fake_score, weight_B)
        add_gradients(self, optimizer, loss)
        if accumulation_of(self.trainer).is_last:
            step_beside(self, optimizer, self.net)
        scores = {"train/d_real": real_score.mean(), "train/d_fake": fake_score.mean()}
        self.log_dict(scores, batch_size=len(output))
        self.log("train/d_loss", loss, batch_size=len(output), prog_bar=True)

    def step_generator(self, optimizer: Optimizer, output: Tensor, real: Tensor, batch: LipBatch) -> None:
        """Close to the real picture, sharp enough to pass for one, and in sync."""
        l1 = weighted_l1(output, real, self.mouth_weight_hW, batch["weight_B"])
        loss = l1 + self.edge_weight * edge_loss(output, real, batch["weight_B"])
        with without_gradients(self.discriminator):
            adversarial = hinge_generator_loss(self.discriminator(output.flatten(0, 1)), batch["weight_B"])
            loss = loss + self.adversarial_ramp.value() * adversarial
            if self.expert is not None and self.sync_weight > 0:
                sync = judge_sync(self.expert, output, batch)
                loss = loss + self.sync_weight * sync
                self.log("train/sync_loss", sync, batch_size=len(output))
            add_gradients(self, optimizer, loss)
        if accumulation_of(self.trainer).is_last:
            optimizer.step()
        self.log("train/adversarial_loss", adversarial, batch_size=len(output))
        self.log("train/l1", l1, batch_size=len(output), prog_bar=True)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip where the gradients are whole and, with 16-mixed, no longer scaled."""
        if self.clip_val:
            self.clip_gradients(optimizer, self.clip_val, self.clip_algorithm)

    def validation_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The fixed windows, drawn with their own speech."""
        output, real = draw_mouths(self.net, batch)
        scores = validation_scores(output, real, batch, self.mouth_weight_hW, self.expert)
        self.jitter_ratio.update(output, real)
        self.log("val/jitter_ratio", self.jitter_ratio, batch_size=len(output))
        self.log_dict(scores, batch_size=len(output), sync_dist=True)

    def configure_optimizers(self) -> tuple[OptimizerLRSchedulerConfig, OptimizerLRSchedulerConfig]:
        """The generator's optimizer, then the discriminator's; beta1 of 0.5 as GANs like it."""
        optimizers = (
            self.optimizer(self.net.parameters(), lr=self.lr, betas=(0.5, 0.99)),
            self.optimizer(self.discriminator.parameters(), lr=self.discriminator_lr, betas=(0.5, 0.99)),
        )
        generators, discriminators = (
            scheduled(self, optimizer, self.schedule, self.warmup_steps) for optimizer in optimizers
        )
        return generators, discriminators
