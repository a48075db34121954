"""The discriminators' side of the GAN: what they look at, what both turns cost, and the penalty on their gradient.

Shape suffixes: B windows, T frames, C colour, h W lower half, N = B * T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from anchor.losses import (
    feature_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    lsgan_discriminator_loss,
    lsgan_generator_loss,
)
from anchor.ops.images import mouth_crop

__all__ = ["AdversarialKind", "Judgement", "Judges", "Persuasion"]

AdversarialKind = Literal["hinge", "lsgan"]
MIDDLE = {"hinge": 0.0, "lsgan": 0.5}  # scores above it call a picture real


class Judgement(NamedTuple):
    """The discriminators' turn."""

    loss: Tensor
    real: Tensor  # mean score of real pictures
    fake: Tensor  # of drawn ones
    accuracy: Tensor  # share of scores on the right side


class Persuasion(NamedTuple):
    """The generator's turn."""

    adversarial: Tensor
    features: Tensor  # 0 where they are not asked for


@dataclass(frozen=True)
class Judges:
    """A discriminator of the whole lower half and, where there is one, another of the mouth's box alone.

    They look at pictures only: whether a mouth fits its speech is the expert's to say.
    """

    whole: nn.Module
    mouth: nn.Module | None
    kind: AdversarialKind

    def views(self, mouths_BTChW: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """Each discriminator with what it looks at, (N, C, ., .)."""
        halves_NChW = mouths_BTChW.flatten(0, 1)
        views = [(self.whole, halves_NChW)]
        if self.mouth is not None:
            crop_NChW = mouth_crop(halves_NChW).contiguous(memory_format=torch.channels_last)
            views.append((self.mouth, crop_NChW))
        return views

    def judge(self, output_BTChW: Tensor, real_BTChW: Tensor, weight_B: Tensor) -> Judgement:
        """Real pictures up, drawn ones down; a mean over the discriminators."""
        lose = hinge_discriminator_loss if self.kind == "hinge" else lsgan_discriminator_loss
        parts = []
        for (net, real), (_, fake) in zip(self.views(real_BTChW), self.views(output_BTChW), strict=True):
            real_score, fake_score = net(torch.cat([real, fake])).float().chunk(2)  # one pass: its weights move once
            middle = MIDDLE[self.kind]
            right = 0.5 * ((real_score > middle).float().mean() + (fake_score < middle).float().mean())
            parts.append((lose(real_score, fake_score, weight_B), real_score.mean(), fake_score.mean(), right))
        return Judgement(*(torch.stack(part).mean() for part in zip(*parts, strict=True)))

    def persuade(self, output_BTChW: Tensor, real_BTChW: Tensor, weight_B: Tensor, with_features: bool) -> Persuasion:
        """How far the drawn pictures are from passing for real ones, and how differently they are seen."""
        lose = hinge_generator_loss if self.kind == "hinge" else lsgan_generator_loss
        losses, features = [], []
        for (net, fake), (_, real) in zip(self.views(output_BTChW), self.views(real_BTChW), strict=True):
            if with_features:
                score, seen = net.look(fake)  # type: ignore[operator]
                with torch.no_grad():
                    _, seen_real = net.look(real)  # type: ignore[operator]
                features.append(feature_loss(seen, seen_real, weight_B))
            else:
                score = net(fake)
            losses.append(lose(score, weight_B))
        adversarial = torch.stack(losses).mean()
        return Persuasion(adversarial, torch.stack(features).mean() if features else torch.zeros_like(adversarial))

    def gradient_penalty(self, real_BTChW: Tensor, weight_B: Tensor) -> Tensor:
        """R1: the squared gradient of the score at real pictures, a mean over pictures and discriminators.

        Mescheder et al. 2018, arXiv 1801.04406, eq. 9, without its factor of a half. The scores of a picture's P
        patches are added and the square divided by P: the mean over patches, as far as they do not overlap. It is
        computed in float32, for a gradient's square is lost in fp16, and past ``torch.compile``, which cannot
        differentiate twice.
        """
        penalties: list[Tensor] = []
        for net, view in self.views(real_BTChW.detach()):
            picture = view.float().detach().requires_grad_()
            with torch.autocast(picture.device.type, enabled=False):
                score = net.forward(picture)
                (slope,) = torch.autograd.grad(score.sum(), picture, create_graph=True)
            square_N = slope.square().flatten(1).sum(1) * (len(score) / score.numel())
            penalties.append((square_N.reshape(len(weight_B), -1).mean(1) * weight_B).mean())
        return torch.stack(penalties).mean()

    @property
    def nets(self) -> Sequence[nn.Module]:
        """The networks."""
        return [self.whole] if self.mouth is None else [self.whole, self.mouth]
