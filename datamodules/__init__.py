"""Where windows come from: shards on disk or speakers rendered in memory."""

from datamodules.shards import ShardDataModule
from datamodules.synthetic import SyntheticDataModule

__all__ = ["ShardDataModule", "SyntheticDataModule"]

__distribution__ = "virtual-anchor"  # anchor.guard tells ours from others of the same name
