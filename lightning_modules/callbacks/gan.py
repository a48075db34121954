"""Whether the GAN still works: what a collapse looks like in the numbers, told once in one sentence."""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lightning_modules.callbacks.finite import was_skipped
from lightning_modules.callbacks.place import batches_seen

__all__ = ["GanWatch"]

KEYS = ("train/d_real", "train/d_fake", "train/d_accuracy", "train/d_loss", "train/adversarial_share")
NATURAL = (0.8, 1.25)  # of the jitter ratio
ADVICE = {
    "won": (
        "the discriminator tells every picture apart ({d_accuracy:.0%} right, d_real {d_real:.2f}, d_fake "
        "{d_fake:.2f}), so the generator learns nothing from it: lower module.discriminator_lr or raise "
        "module.r1_weight"
    ),
    "blind": (
        "the discriminator tells nothing apart ({d_accuracy:.0%} right, d_real {d_real:.2f}, d_fake {d_fake:.2f}): "
        "raise module.discriminator_lr, lower module.r1_weight, or give it wider layers"
    ),
    "runaway": (
        "the discriminator's scores run away (d_real {d_real:.3g}, d_fake {d_fake:.3g}): raise module.r1_weight, or "
        "give it spectral norm (model.discriminator.spectral=true)"
    ),
    "loud": (
        "the adversary's gradient is {adversarial_share:.1f} times the reconstruction's at the picture, so detail is "
        "invented: lower module.adversarial_weight, or set module.balance=true"
    ),
}
TREMBLE = {
    True: "the mouth trembles (val/jitter_ratio {0:.2f}, natural is 0.8 to 1.25): raise module.motion_weight or lower "
    "module.adversarial_weight",
    False: "the mouth is stiff (val/jitter_ratio {0:.2f}, natural is 0.8 to 1.25): the generator before this stage "
    "moves too little, or module.motion_weight is too high",
}


class GanWatch(Callback):
    """Watch the discriminator and what it does to the pictures; say what is wrong when it begins, and when it ends.

    A finding needs a whole window of steps, so that one odd batch says nothing. Logs ``train/gan_collapse``, the number
    of findings that hold (0 is healthy), and ``val/is_trembling``, -1 (stiff), 0 or 1, after each validation. Training
    goes on: whether to stop is for whoever reads it.

    Args:
        window: steps that a finding needs.
        won_accuracy: share of right scores from where the discriminator has won.
        blind_margin: distance of that share from a half, below which it tells nothing apart.
        max_score: size of a mean score from where scores run away.
        max_share: of the adversary's gradient beside the reconstruction's.
    """

    def __init__(
        self,
        window: int = 50,
        won_accuracy: float = 0.985,
        blind_margin: float = 0.01,
        max_score: float = 20.0,
        max_share: float = 3.0,
    ) -> None:
        self.won_accuracy, self.blind_margin = won_accuracy, blind_margin
        self.max_score, self.max_share = max_score, max_share
        self.recent: deque[torch.Tensor] = deque(maxlen=window)
        self.found: set[str] = set()
        self.trembling = 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """One more step in the window; once it is full, the diagnosis now and then."""
        metrics = trainer.callback_metrics
        if was_skipped(trainer) or not all(key in metrics for key in KEYS):
            return
        self.recent.append(torch.stack([metrics[key].detach().float().reshape(()) for key in KEYS]))
        window = self.recent.maxlen or 1
        if len(self.recent) == window and batches_seen(trainer) % max(1, window // 5) == 0:
            means = trainer.strategy.reduce(torch.stack(list(self.recent)).mean(0), reduce_op="mean")
            scores = dict(zip((key.removeprefix("train/") for key in KEYS), means.tolist(), strict=True))
            self._tell(trainer, self.diagnose(scores), scores)
        pl_module.log("train/gan_collapse", float(len(self.found)))

    def diagnose(self, scores: dict[str, float]) -> set[str]:
        """What is wrong with a window's means: some of ``won``, ``blind``, ``runaway`` and ``loud``."""
        accuracy, real, fake = scores["d_accuracy"], scores["d_real"], scores["d_fake"]
        runs_away = any(not math.isfinite(score) or abs(score) > self.max_score for score in (real, fake))
        is_blind = abs(accuracy - 0.5) < self.blind_margin and abs(real - fake) < 0.05
        found = {
            "runaway": runs_away,
            "won": accuracy >= self.won_accuracy and not runs_away,
            "blind": is_blind and not runs_away,
            "loud": scores["adversarial_share"] > self.max_share,
        }
        return {name for name, holds in found.items() if holds}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Does the mouth tremble?"""
        ratio = trainer.callback_metrics.get("val/jitter_ratio")
        if ratio is None or trainer.sanity_checking:
            return
        low, high = NATURAL
        value = float(ratio)
        state = 1 if value > high else -1 if value < low else 0
        if state and state != self.trembling:
            self._print(trainer, TREMBLE[state > 0].format(value))
        elif self.trembling and not state:
            self._print(trainer, f"the mouth moves naturally again (val/jitter_ratio {value:.2f})")
        self.trembling = state
        pl_module.log("val/is_trembling", float(state))

    def state_dict(self) -> dict[str, Any]:
        """What was said already."""
        return {"found": sorted(self.found), "trembling": self.trembling}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """It is not said again."""
        self.found, self.trembling = set(state_dict["found"]), state_dict["trembling"]

    def _tell(self, trainer: L.Trainer, found: set[str], scores: dict[str, float]) -> None:
        for name in sorted(found - self.found):
            self._print(trainer, ADVICE[name].format(**scores))
        if self.found and not found:
            self._print(trainer, f"discriminator and generator are in balance again ({scores['d_accuracy']:.0%} right)")
        self.found = found

    def _print(self, trainer: L.Trainer, sentence: str) -> None:
        if trainer.is_global_zero:
            print(f"\nanchor train: step {batches_seen(trainer)}: {sentence}.", file=sys.stderr, flush=True)
