"""What runs beside training: the run's own record, its progress on the terminal, what an engineer switches on."""

from lightning_modules.callbacks.ema import WeightAverage
from lightning_modules.callbacks.finite import FiniteLoss
from lightning_modules.callbacks.gan import GanWatch
from lightning_modules.callbacks.held_out import HeldOutScores
from lightning_modules.callbacks.loader import LoaderWatch
from lightning_modules.callbacks.overfit import OverfitCheck
from lightning_modules.callbacks.partial import PartialSteps
from lightning_modules.callbacks.place import batches_seen
from lightning_modules.callbacks.progress import ProgressLines
from lightning_modules.callbacks.record import MetricsRecord
from lightning_modules.callbacks.spikes import LossSpikes
from lightning_modules.callbacks.top import BestCheckpoint, TopCheckpoints

__all__ = [
    "BestCheckpoint",
    "FiniteLoss",
    "GanWatch",
    "HeldOutScores",
    "LoaderWatch",
    "LossSpikes",
    "MetricsRecord",
    "OverfitCheck",
    "PartialSteps",
    "ProgressLines",
    "TopCheckpoints",
    "WeightAverage",
    "batches_seen",
]
