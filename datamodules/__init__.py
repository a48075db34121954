"""Where windows come from: shards on disk or speakers rendered in memory.

The names load when they are first asked for: a loader process needs windows, and neither Lightning nor the renderer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.shards import ShardDataModule
    from datamodules.synthetic import SyntheticDataModule

__all__ = ["ShardDataModule", "SyntheticDataModule"]

__distribution__ = "virtual-anchor"  # anchor.guard tells ours from others of the same name
HOMES = {"ShardDataModule": "datamodules.shards", "SyntheticDataModule": "datamodules.synthetic"}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
