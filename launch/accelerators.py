"""From ``accelerator=cpu2`` to Trainer arguments: accelerator, devices, strategy and precision together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchor.device import has_mlu
from anchor.errors import DeviceError

__all__ = ["Machine", "resolve_machine"]

NAMES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Machine:
    """What a run computes on."""

    name: str  # "cpu" or "cuda"
    devices: int  # processes on each machine, one per card
    nodes: int
    precision: str

    @property
    def world_size(self) -> int:
        """All processes."""
        return self.devices * self.nodes

    def trainer_arguments(self, by_hand: bool) -> dict[str, Any]:
        """Arguments of ``L.Trainer``; ``by_hand`` says that the module runs its optimizers itself."""
        strategy = "auto" if self.world_size == 1 else "ddp_find_unused_parameters_true" if by_hand else "ddp"
        return {
            "accelerator": self.name,
            "devices": self.devices,
            "num_nodes": self.nodes,
            "strategy": strategy,
            "precision": self.precision,
        }


def resolve_machine(config: Mapping[str, Any]) -> Machine:
    """The machine that ``config`` (name, devices, nodes, precision) asks for, as this host can give it.

    Raises:
        DeviceError: a card that is absent, more cards than there are, or an unknown name: no fall in silence.
    """
    import torch

    name, devices = config["name"], config["devices"]
    if name not in NAMES:
        raise DeviceError(f"accelerator.name={name} is unknown. Choose one of {', '.join(NAMES)}.")
    cards = torch.cuda.device_count()
    if name == "auto" and has_mlu():
        raise DeviceError(
            "torch_mlu sees a card, and this version trains on CUDA and CPU only. Name one: accelerator=cpu."
        )
    if name == "auto":
        name = "cuda" if cards else "cpu"
    if name == "cuda" and not cards:
        raise DeviceError(f"accelerator=cuda: PyTorch {torch.__version__} sees no CUDA card. Use accelerator=cpu.")
    if devices == "auto":
        devices = cards if name == "cuda" else 1
    devices, nodes = _count("devices", devices), _count("nodes", config["nodes"])
    if devices < 1 or nodes < 1:
        raise DeviceError(f"accelerator.devices={devices} accelerator.nodes={nodes}: both must be at least 1.")
    if name == "cuda" and devices > cards:
        raise DeviceError(
            f"accelerator.devices={devices}: this machine has {cards} CUDA cards. Ask for {cards} or fewer."
        )
    precision = config["precision"]
    if precision == "auto":
        precision = "bf16-mixed" if name == "cuda" or _cpu_computes_bfloat16() else "32-true"
    return Machine(name, devices, nodes, precision)


def _count(key: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise DeviceError(f"accelerator.{key}={value} is not a whole number.") from None


def _cpu_computes_bfloat16() -> bool:
    """Whether the processor has bfloat16 units; without them bf16-mixed is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
