"""From four words to the arguments of ``Trainer``: accelerator, devices, strategy and precision together.

Lightning chooses each by itself, and on a card of its own it chooses wrong: see :mod:`launch.mlu.strategies` and
:mod:`launch.mlu.precision`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.strategies import Strategy

from launch.mlu import library
from launch.mlu.accelerator import MLUAccelerator
from launch.mlu.errors import MLUError
from launch.mlu.memory import teach_lightning
from launch.mlu.precision import make_precision
from launch.mlu.strategies import MLUDDPStrategy, MLUFSDPStrategy, MLUModelParallelStrategy, SingleMLUStrategy

__all__ = ["STRATEGIES", "choose_accelerator", "trainer_arguments"]

STRATEGIES = ("auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true", "fsdp", "fsdp2")


def choose_accelerator() -> str:
    """``mlu`` where a card is, else ``cuda`` where one is, else ``cpu``.

    Raises:
        MLUError: torch_mlu is there and does not fit; the CPU is no answer to that.
    """
    import torch

    return "mlu" if library.cards() else "cuda" if torch.cuda.is_available() else "cpu"


def trainer_arguments(
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    strategy: str | Strategy = "auto",
    precision: str = "32-true",
    num_nodes: int = 1,
    plugins: Sequence[Any] = (),
) -> dict[str, Any]:
    """Arguments for ``Trainer(**arguments)``, the same for any accelerator.

    Args:
        accelerator: ``auto`` finds MLU, then CUDA, then the CPU; else its name.
        strategy: one of ``STRATEGIES``, or a strategy that is already made.
        devices: how many cards, or their numbers.
        num_nodes: how many machines.
        precision: ``32-true``, ``16-mixed`` or ``bf16-mixed``; on a card it arrives as a plugin.
        plugins: more of them.

    Raises:
        MLUError: something that the card cannot do, or is not there.
    """
    name = choose_accelerator() if accelerator == "auto" else accelerator
    if name != "mlu":
        arguments = {"accelerator": name, "devices": devices, "strategy": strategy, "precision": precision}
        return {**arguments, "num_nodes": num_nodes, "plugins": list(plugins) or None}
    library.load()
    chosen = MLUAccelerator.parse_devices(-1 if devices == "auto" else devices)
    made = strategy
    if isinstance(strategy, str):
        made = _make_strategy(strategy, chosen, is_single=len(chosen) == 1 and num_nodes == 1)
    teach_lightning()
    if isinstance(made, MLUModelParallelStrategy) and precision == "16-mixed":
        raise MLUError("precision=16-mixed: FSDP2 has no scaler for float16. Use bf16-mixed, 32-true or fsdp.")
    plugin = make_precision(precision, is_sharded=isinstance(made, MLUFSDPStrategy))
    return {
        "accelerator": MLUAccelerator(),
        "devices": chosen,
        "num_nodes": num_nodes,
        "strategy": made,
        "plugins": [*plugins, plugin],
    }


def _make_strategy(name: str, devices: list[int], is_single: bool) -> Strategy:
    if "fork" in name or "notebook" in name:
        raise MLUError(
            f"strategy={name}: a forked process cannot use an MLU that its parent has opened. Use ddp or ddp_spawn."
        )
    if name not in STRATEGIES:
        raise MLUError(f"strategy={name} is unknown on an MLU. Choose one of {', '.join(STRATEGIES)}.")
    if name == "auto" and is_single:
        return SingleMLUStrategy(devices[0])
    if name == "fsdp":
        return MLUFSDPStrategy()
    if name == "fsdp2":
        return MLUModelParallelStrategy()
    options: dict[str, Any] = {"find_unused_parameters": True} if name.endswith("_true") else {}
    return MLUDDPStrategy(start_method="spawn" if name == "ddp_spawn" else "popen", **options)
