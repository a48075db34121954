"""Stage 4: sharper pictures, against a discriminator that judges image quality and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from anchor.batch import LipBatch
from anchor.errors import ConfigError
from anchor.losses import held_loss
from anchor.models import LipGenerator, PatchDiscriminator, SyncNet, describe, without_gradients
from anchor.ops.images import mouth_weights
from lightning_modules.adversary import AdversarialKind, Judges
from lightning_modules.balance import Balance
from lightning_modules.by_hand import add_gradients, check_accumulation, check_clipping, step_beside
from lightning_modules.callbacks.place import accumulation_of, batches_seen
from lightning_modules.common import (
    Network,
    OptimizerFactory,
    Ramp,
    adamw,
    as_network,
    check_lr,
    compare_shapes,
    draw_and_hold,
    draw_mouths,
    judge_sync,
    remember,
    set_up_expert,
)
from lightning_modules.generator import validation_scores
from lightning_modules.loading import PlainLoading
from lightning_modules.pictures import Detail, Reconstruction
from lightning_modules.ratios import JitterRatio, SharpnessRatio
from lightning_modules.schedules import as_schedule, scheduled

__all__ = ["QualityModule"]


class QualityModule(PlainLoading):
    """Sharpen ``net`` (manual optimisation, two optimizers) while the frozen expert keeps it in sync.

    Logs ``train/d_loss``, ``train/d_real``, ``train/d_fake``, ``train/d_accuracy``, ``train/adversarial_loss``,
    ``train/adversarial_share`` (the adversary's gradient norm at the picture over the reconstruction's),
    ``train/feature_loss``, ``train/l1``, ``train/sync_loss`` and ``train/batches`` every step (``global_step`` counts
    both optimizers: two a batch), ``train/r1`` in the steps that have it, ``train/held_loss`` and ``train/shape_loss``
    where they have a weight; ``val/l1``, ``val/sync_loss``, ``val/mouth_psnr``, ``val/copy_psnr`` (dB),
    ``val/jitter_ratio`` and ``val/sharpness_ratio`` (1 = as much detail as the real mouth).

    Args:
        net: the generator of an earlier stage.
        discriminator: a ``PatchDiscriminator`` or its description; it sees lower halves, never speech.
        mouth_discriminator: another one for the mouth's box, or None.
        expert: the frozen judge, or None.
        adversarial: ``hinge`` or ``lsgan`` (least squares).
        adversarial_weight, adversarial_start_step, adversarial_ramp_steps: the discriminators learn alone first; in
            optimizer steps. With ``balance`` the weight is a share: how large the adversary's gradient at the picture
            is beside the reconstruction's.
        balance: keep that share (:class:`~lightning_modules.balance.Balance`); false takes the weight as it is.
        feature_weight: of feature matching beside the adversary's 1, within its share; 0 leaves it out.
        r1_weight, r1_every: R1 (Mescheder et al. 2018), lazily as Karras et al. 2020 do (arXiv 1912.04958, appendix
            B): every so many steps, and as many times as strong.
        sync_weight, shape_weight: the expert's say on mouth and speech, and on drawn and real mouth; 0 leaves it out.
        detail, edge_weight, detail_levels: the loss of detail, ``edges`` or ``pyramid``, its weight, over how many
            scales.
        motion_weight: of the comparison of frame-to-frame differences, so that detail does not tremble.
        jitter_weight: of the comparison of how much the mouth moves at all
            (:func:`~anchor.losses.jitter_loss`): the other losses are cheapest for a mouth that moves too little.
        held_weight: as in :class:`~lightning_modules.generator.GeneratorModule`.
        perceptual, perceptual_weight: a frozen network that returns its activations, or None.
        lr, discriminator_lr, warmup_steps, schedule: learning rates of the two, and how both run.
        accumulate_grad_batches: batches whose gradients make one step of each network; the discriminators step before
            the generator learns from the last of them.
        gradient_clip_val, gradient_clip_algorithm: for each network; ``"norm"`` or ``"value"``, None clips nothing.

    Raises:
        ConfigError: an unknown choice.
    """

    num_optimizers = 2
    mouth_weight_hW: Tensor
    expert: SyncNet | None

    def __init__(
        self,
        *,
        net: Network,
        discriminator: Network,
        mouth_discriminator: Network | None = None,
        expert: nn.Module | None = None,
        optimizer: OptimizerFactory = adamw,
        adversarial: AdversarialKind = "hinge",
        adversarial_weight: float = 0.5,
        adversarial_start_step: int = 50,
        adversarial_ramp_steps: int = 100,
        balance: bool = True,
        feature_weight: float = 2.0,
        r1_weight: float = 0.05,
        r1_every: int = 16,
        sync_weight: float = 0.05,
        shape_weight: float = 0.0,
        detail: Detail = "edges",
        edge_weight: float = 0.4,
        detail_levels: int = 1,
        motion_weight: float = 0.5,
        jitter_weight: float = 0.0,
        held_weight: float = 0.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.1,
        mouth_weight: float = 4.0,
        lr: float = 5e-4,
        discriminator_lr: float = 2e-3,
        warmup_steps: int = 0,
        schedule: str | Mapping[str, Any] = "constant",
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = 1.0,
        gradient_clip_algorithm: str | None = "norm",
    ) -> None:
        super().__init__()
        _check("adversarial", adversarial, get_args(AdversarialKind))
        _check("detail", detail, get_args(Detail))
        self.automatic_optimization = False
        self.schedule, self.warmup_steps = as_schedule(schedule), warmup_steps
        self.accumulate_grad_batches = check_accumulation(accumulate_grad_batches)
        self.clip_val, self.clip_algorithm = check_clipping(gradient_clip_val, gradient_clip_algorithm)
        self.net: LipGenerator = as_network(net)  # type: ignore[assignment]
        self.discriminator: PatchDiscriminator = as_network(discriminator)  # type: ignore[assignment]
        self.mouth_discriminator = as_network(mouth_discriminator) if mouth_discriminator is not None else None
        self.adversarial: AdversarialKind = adversarial
        set_up_expert(self, expert)
        self.optimizer, self.lr, self.discriminator_lr = optimizer, check_lr(lr), check_lr(discriminator_lr)
        self.sync_weight, self.shape_weight, self.feature_weight = sync_weight, shape_weight, feature_weight
        self.r1_weight, self.r1_every, self.held_weight = r1_weight, max(1, r1_every), held_weight
        self.adversarial_ramp = Ramp(adversarial_weight, adversarial_start_step, adversarial_ramp_steps)
        self.balance = Balance(balance)
        self.reconstruction = Reconstruction(
            detail, edge_weight, detail_levels, motion_weight, jitter_weight, perceptual, perceptual_weight
        )
        self.jitter_ratio, self.sharpness_ratio = JitterRatio(), SharpnessRatio()
        self.register_buffer("mouth_weight_hW", mouth_weights(self.net.image_size, mouth_weight), persistent=False)
        others = {"mouth_discriminator": describe(self.mouth_discriminator)} if self.mouth_discriminator else {}
        described = {"net": describe(self.net), "discriminator": describe(self.discriminator), **others}
        remember(self, {"stage": "quality", **described, "lr": lr})

    @property
    def judges(self) -> Judges:
        """The discriminators, as a strategy may have wrapped them."""
        return Judges(self.discriminator, self.mouth_discriminator, self.adversarial)

    def training_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The discriminators' turn, then the generator's."""
        output, real, held = draw_and_hold(self.net, batch, self.held_weight > 0)
        generator_optimizer, discriminator_optimizer = cast("list[Optimizer]", self.optimizers())
        self.step_discriminator(discriminator_optimizer, output.detach(), real, batch["weight_B"])
        self.step_generator(generator_optimizer, output, real, held, batch)
        if accumulation_of(self.trainer).is_last:
            self.adversarial_ramp.advance()
            for schedule in cast("list[LRScheduler]", self.lr_schedulers()):
                schedule.step()
        self.log("train/batches", float(batches_seen(self.trainer)), batch_size=len(output))

    def step_discriminator(self, optimizer: Optimizer, output: Tensor, real: Tensor, weight_B: Tensor) -> None:
        """Real pictures up, drawn ones down; now and then the penalty on the slope at real ones."""
        judged = self.judges.judge(output, real, weight_B)
        loss = judged.loss
        if self.r1_weight > 0 and int(self.adversarial_ramp.step) % self.r1_every == 0:
            penalty = self.judges.gradient_penalty(real, weight_B)
            loss = loss + 0.5 * self.r1_weight * self.r1_every * penalty
            self.log("train/r1", penalty, batch_size=len(output))
        add_gradients(self, optimizer, loss)
        if accumulation_of(self.trainer).is_last:
            step_beside(self, optimizer, self.net)
        scores = {"train/d_real": judged.real, "train/d_fake": judged.fake, "train/d_accuracy": judged.accuracy}
        self.log_dict(scores, batch_size=len(output))
        self.log("train/d_loss", judged.loss, batch_size=len(output), prog_bar=True)

    def step_generator(
        self, optimizer: Optimizer, output: Tensor, real: Tensor, held: Tensor | None, batch: LipBatch
    ) -> None:
        """Close to the real picture, sharp enough to pass for one, and in sync."""
        loss, l1 = self.reconstruct(output, real, batch)
        if held is not None:
            moved = held_loss(held, self.mouth_weight_hW, batch["weight_B"][: len(held)])
            loss = loss + self.held_weight * moved
            self.log("train/held_loss", moved, batch_size=len(output))
        with without_gradients(self.discriminator), without_gradients(self.mouth_discriminator or nn.Identity()):
            if int(self.adversarial_ramp.step) % self.balance.every == 0:
                self.balance.measure(
                    self,
                    output,
                    lambda picture: self.reconstruct(picture, real, batch)[0],
                    lambda picture: self.persuade(picture, real, batch)[0],
                )
            persuasion, adversarial, features = self.persuade(output, real, batch)
            weight = self.adversarial_ramp.value() * self.balance.factor()
            loss = loss + weight * persuasion
            loss = loss + self.ask_expert(output, real, batch)
            add_gradients(self, optimizer, loss)
        if accumulation_of(self.trainer).is_last:
            optimizer.step()
        scores = {"train/adversarial_loss": adversarial, "train/feature_loss": features}
        self.log_dict(scores, batch_size=len(output))
        self.log("train/adversarial_share", self.balance.share(weight), batch_size=len(output))
        self.log("train/l1", l1, batch_size=len(output), prog_bar=True)

    def ask_expert(self, output: Tensor, real: Tensor, batch: LipBatch) -> Tensor:
        """What the frozen expert says of the drawn mouths, weighted; a 0-d tensor."""
        loss = output.new_zeros(())
        if self.expert is not None and self.sync_weight > 0:
            sync = judge_sync(self.expert, output, batch)
            loss = loss + self.sync_weight * sync
            self.log("train/sync_loss", sync, batch_size=len(output))
        if self.expert is not None and self.shape_weight > 0:
            shapes = compare_shapes(self.expert, output, real, batch)
            loss = loss + self.shape_weight * shapes
            self.log("train/shape_loss", shapes, batch_size=len(output))
        return loss

    def reconstruct(self, output: Tensor, real: Tensor, batch: LipBatch) -> tuple[Tensor, Tensor]:
        """``(loss, l1)`` against the real window."""
        return self.reconstruction.loss(output, real, self.mouth_weight_hW, batch["weight_B"])

    def persuade(self, output: Tensor, real: Tensor, batch: LipBatch) -> tuple[Tensor, Tensor, Tensor]:
        """``(loss, its adversarial part, its feature part)`` before the discriminators."""
        weight = self.feature_weight
        adversarial, features = self.judges.persuade(output, real, batch["weight_B"], with_features=weight > 0)
        return adversarial + weight * features, adversarial, features

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip where the gradients are whole and, with 16-mixed, no longer scaled."""
        if self.clip_val:
            self.clip_gradients(optimizer, self.clip_val, self.clip_algorithm)

    def validation_step(self, batch: LipBatch, batch_idx: int) -> None:
        """The fixed windows, drawn with their own speech."""
        output, real = draw_mouths(self.net, batch)
        scores = validation_scores(output, real, batch, self.mouth_weight_hW, self.expert)
        self.jitter_ratio.update(output, real)
        self.sharpness_ratio.update(output, real)
        self.log("val/jitter_ratio", self.jitter_ratio, batch_size=len(output))
        self.log("val/sharpness_ratio", self.sharpness_ratio, batch_size=len(output))
        self.log_dict(scores, batch_size=len(output), sync_dist=True)

    def configure_optimizers(self) -> tuple[OptimizerLRSchedulerConfig, OptimizerLRSchedulerConfig]:
        """The generator's optimizer, then the discriminators'; beta1 of 0.5 as GANs like it."""
        judging = [parameter for net in self.judges.nets for parameter in net.parameters()]
        optimizers = (
            self.optimizer(self.net.parameters(), lr=self.lr, betas=(0.5, 0.99)),
            self.optimizer(judging, lr=self.discriminator_lr, betas=(0.5, 0.99)),
        )
        generators, discriminators = (
            scheduled(self, optimizer, self.schedule, self.warmup_steps) for optimizer in optimizers
        )
        return generators, discriminators


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"module.{name}={value} is no choice. Choose one of {', '.join(known)}.")
