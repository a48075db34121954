"""The four stages of the method, a LightningModule each."""

from lightning_modules.finetune import FinetuneModule
from lightning_modules.generator import GeneratorModule
from lightning_modules.quality import QualityModule
from lightning_modules.syncnet import SyncNetModule

__all__ = ["FinetuneModule", "GeneratorModule", "QualityModule", "SyncNetModule"]

__distribution__ = "virtual-anchor"  # anchor.guard tells ours from others of the same name
