"""Names for plain Lightning: after ``register()``, ``Trainer(accelerator="mlu", strategy="ddp")`` trains on cards."""

from __future__ import annotations

from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from launch.mlu.accelerator import MLUAccelerator
from launch.mlu.memory import teach_lightning
from launch.mlu.strategies import MLUDDPStrategy, MLUFSDPStrategy, MLUModelParallelStrategy, SingleMLUStrategy

__all__ = ["register"]

STARTS = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}


def register() -> None:
    """Tell Lightning the accelerator ``mlu`` and its strategies; the second time changes nothing.

    ``mlu`` is one card, ``mlu_fsdp`` and ``mlu_fsdp2`` shard, and the names of the ``ddp`` family mean ours: off the
    card they are Lightning's own. ``fsdp`` stays Lightning's, which refuses it for any accelerator but CUDA.
    """
    MLUAccelerator.register_accelerators(AcceleratorRegistry)
    for strategy in (SingleMLUStrategy, MLUFSDPStrategy, MLUModelParallelStrategy):
        StrategyRegistry.register(
            strategy.strategy_name, strategy, description=(strategy.__doc__ or "").splitlines()[0], override=True
        )
    for name, start_method in {**STARTS, "mlu_ddp": "popen"}.items():
        about = f"DDP, on MLU cards too; processes by {start_method}"
        StrategyRegistry.register(name, MLUDDPStrategy, description=about, override=True, start_method=start_method)
        for suffix, find_unused in (("true", True), ("false", False)):
            StrategyRegistry.register(
                f"{name}_find_unused_parameters_{suffix}",
                MLUDDPStrategy,
                description=about,
                override=True,
                start_method=start_method,
                find_unused_parameters=find_unused,
            )
    teach_lightning()
