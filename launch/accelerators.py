"""From ``accelerator=mlu8`` to Trainer arguments: accelerator, devices, strategy and precision together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anchor.device import cpu_computes_bfloat16
from anchor.errors import DeviceError

if TYPE_CHECKING:
    import lightning as L

__all__ = ["Machine", "check_trainer", "explain_memory", "resolve_machine"]

NAMES = ("auto", "mlu", "cuda", "cpu", "mlu_sim")
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed")
STRATEGIES = ("auto", "ddp", "fsdp", "fsdp2")
SIMULATED = "ANCHOR_MLU_SIM"  # how many simulated cards there are
MOST_SIMULATED = 64

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Machine:
    """What a run computes on."""

    name: str  # "mlu", "cuda" or "cpu"
    devices: int  # processes on each machine, one per card
    nodes: int
    precision: str
    strategy: str = "auto"
    card: str = ""  # what the card calls itself

    @property
    def world_size(self) -> int:
        """All processes."""
        return self.devices * self.nodes

    @property
    def warning(self) -> str | None:
        """What is slow about it, in a sentence."""
        if self.name != "cpu" or self.precision != "bf16-mixed" or cpu_computes_bfloat16():
            return None
        return (
            "accelerator.precision=bf16-mixed: this processor has no bfloat16 units and takes several times as long as "
            "in float32. accelerator.precision=auto takes what is quicker."
        )

    def __str__(self) -> str:
        card = f" ({self.card})" if self.card else ""
        nodes = f" on each of {self.nodes} machines" if self.nodes > 1 else ""
        strategy = f", {self.strategy}" if self.strategy != "auto" else ""
        return f"{self.devices} x {self.name}{card}{nodes}, {self.precision}{strategy}"

    def trainer_arguments(self, by_hand: bool) -> dict[str, Any]:
        """Arguments of ``L.Trainer``; ``by_hand`` says that the module runs its optimizers itself.

        Raises:
            DeviceError: what is trained by hand cannot be sharded.
        """
        if by_hand and self.strategy.startswith("fsdp"):
            raise DeviceError(
                f"accelerator.strategy={self.strategy}: this stage trains two networks in turns, and only one could "
                "be sharded. Use accelerator.strategy=ddp."
            )
        strategy: Any = self.strategy
        if strategy in ("auto", "ddp") and by_hand and self.world_size > 1:
            strategy = "ddp_find_unused_parameters_true"  # in each turn the other network has no part
        elif strategy == "auto" and self.world_size > 1:
            strategy = "ddp"
        from launch.mlu import MLUFSDPStrategy, MLUModelParallelStrategy, trainer_arguments

        if self.name == "mlu":
            return _answer(
                lambda: trainer_arguments("mlu", self.devices, strategy, self.precision, num_nodes=self.nodes)
            )
        if strategy.startswith("fsdp"):
            strategy = _answer(MLUFSDPStrategy if strategy == "fsdp" else MLUModelParallelStrategy)
        return {
            "accelerator": self.name,
            "devices": self.devices,
            "num_nodes": self.nodes,
            "strategy": strategy,
            "precision": self.precision,
        }


def resolve_machine(config: Mapping[str, Any]) -> Machine:
    """The machine that ``config`` (name, devices, nodes, precision, strategy) asks for, as this host can give it.

    ``auto`` finds an MLU, then CUDA, then the CPU. ``mlu_sim`` is ``mlu`` with as many simulated cards as asked for.

    Raises:
        DeviceError: a card that is absent or cannot do it, more cards than there are, or an unknown name: no fall in
            silence.
    """
    for key, known in (("name", NAMES), ("precision", PRECISIONS), ("strategy", STRATEGIES)):
        value = config.get(key, "auto")
        if value not in known:
            raise DeviceError(f"accelerator.{key}={value} is unknown. Choose one of {', '.join(known)}.")
    nodes, devices = _count("nodes", config["nodes"]), config["devices"]
    devices = devices if devices == "auto" else _count("devices", devices)
    if config["name"] == "mlu_sim":
        name, cards = "mlu", _simulate(2 if devices == "auto" else devices)
    else:
        name, cards = _find(config["name"])
    if devices == "auto":
        devices = cards or 1
    if name != "cpu" and devices > cards:
        raise DeviceError(
            f"accelerator.devices={devices}: this machine shows {cards} {name.upper()} card{'s'[: cards != 1]}"
            f"{_hiding(name)}. Ask for {cards} or fewer."
        )
    precision = _precision(config["precision"], name)
    strategy = config.get("strategy", "auto")
    if strategy.startswith("fsdp") and (name == "cpu" or devices * nodes < 2):
        raise DeviceError(
            f"accelerator.strategy={strategy} shards a network over cards, and this is {devices * nodes} x {name}. "
            "Use accelerator.strategy=ddp, or two cards or more."
        )
    return Machine(name, devices, nodes, precision, strategy, _card(name))


def check_trainer(trainer: L.Trainer, machine: Machine) -> None:
    """See that ``trainer`` computes on what ``machine`` says, in its precision and with its number of processes.

    Raises:
        DeviceError: it does not. Lightning falls back in silence in several cases, to the CPU and to float32.
    """
    root = trainer.strategy.root_device
    plugin = trainer.strategy.precision_plugin
    found = str(getattr(plugin, "precision", "32-true"))
    place = str(getattr(plugin, "device", root.type))
    if root.type != machine.name or place != machine.name:
        raise DeviceError(f"{machine} was asked for, and the trainer would compute on {root} with autocast of {place}.")
    if found != machine.precision:
        raise DeviceError(f"{machine} was asked for, and the trainer would compute in {found}.")
    if trainer.world_size != machine.world_size:
        raise DeviceError(f"{machine} was asked for, and the trainer would have {trainer.world_size} processes.")
    if machine.name == "mlu":
        from launch.mlu import check_trainer as check_mlu

        _answer(lambda: check_mlu(trainer))


def explain_memory(error: BaseException) -> str | None:
    """One sentence if ``error`` says that a card is short of memory, else None."""
    import torch

    from launch.mlu import is_out_of_memory

    if not is_out_of_memory(error) and not isinstance(error, torch.cuda.OutOfMemoryError):
        return None
    said = str(error).splitlines()[0].rstrip(".")
    return (
        f"the card is short of memory ({said}). Use a smaller datamodule.batch_size with "
        "trainer.accumulate_grad_batches, more cards, accelerator.precision=bf16-mixed, or a smaller model=."
    )


def _find(name: str) -> tuple[str, int]:
    """The kind of device behind ``name`` and how many of it there are."""
    import torch

    from launch.mlu import choose_accelerator, library

    is_left_over = _has_simulated() and SIMULATED not in os.environ  # of another job of a sweep
    if name == "mlu" and is_left_over:
        raise DeviceError(
            "accelerator=mlu: torch_mlu is not installed, and the simulated one belongs to accelerator=mlu_sim."
        )
    if name == "auto" and is_left_over:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    elif name == "auto":
        name = _answer(choose_accelerator)
    if name == "cpu":
        return "cpu", 0
    if name == "cuda":
        if not torch.cuda.device_count():
            raise DeviceError(
                f"accelerator=cuda: PyTorch {torch.__version__} sees no CUDA card{_hiding('cuda')}. "
                "Use accelerator=cpu."
            )
        return "cuda", torch.cuda.device_count()
    _answer(library.load)
    cards = _answer(library.cards)
    if not cards:
        raise DeviceError(f"accelerator={name}: torch_mlu sees no card{_hiding('mlu')}. Use accelerator=cpu.")
    return "mlu", cards


def _simulate(devices: int) -> int:
    """Make as many simulated cards importable, unless the user's variable says how many; the number that is visible.

    A rank keeps the variable, for the processes that it starts. Elsewhere other jobs of a sweep may follow, which ask
    for another number or for no simulated card: the library, which is told once, is told of as many as can be.
    """
    from launch.mlu import library
    from launch.mlu_sim import activate

    before = {name: os.environ.get(name) for name in (SIMULATED, "PYTHONPATH")}
    os.environ.setdefault(SIMULATED, str(devices))
    is_ours = before[SIMULATED] is None and "RANK" not in os.environ
    try:
        activate()
        count = int(os.environ[SIMULATED])
        if is_ours:
            os.environ[SIMULATED] = str(MOST_SIMULATED)
        simulator = _answer(library.load)
    except (RuntimeError, ValueError, ImportError) as error:
        raise DeviceError(f"accelerator=mlu_sim: {error}") from error
    finally:
        if is_ours:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})
    cards = min(len(simulator.visible.visible_cards(count)), library.cards())
    if not cards:
        raise DeviceError(f"accelerator=mlu_sim: torch_mlu sees no card{_hiding('mlu')}. Use accelerator=cpu.")
    return cards


def _has_simulated() -> bool:
    """Whether the simulated torch_mlu has been imported."""
    return bool(getattr(sys.modules.get("torch_mlu"), "is_simulated", False))


def _precision(asked: str, name: str) -> str:
    if name == "mlu":
        from launch.mlu import library
        from launch.mlu.precision import check_bfloat16

        if asked == "auto":
            return "bf16-mixed" if _answer(library.has_bfloat16) else "32-true"
        _answer(lambda: check_bfloat16(asked))
        return asked
    if name == "cpu" and asked == "16-mixed":
        raise DeviceError(
            "accelerator.precision=16-mixed: a CPU trains in 32-true or bf16-mixed. Lightning would take bf16-mixed "
            "in its place."
        )
    if asked == "auto":
        return "bf16-mixed" if name == "cuda" or cpu_computes_bfloat16() else "32-true"
    return asked


def _card(name: str) -> str:
    """What the first card calls itself; nothing for a CPU."""
    import torch

    if name == "mlu":
        from launch.mlu import library

        is_simulated = getattr(library.load(), "is_simulated", False)
        return f"{library.card_name()}{', simulated' if is_simulated else ''}"
    return torch.cuda.get_device_name(0) if name == "cuda" else ""


def _hiding(name: str) -> str:
    """The variable that says which cards are visible, in brackets, if one does."""
    from launch.mlu import library

    if name == "cuda":
        value = os.environ.get("CUDA_VISIBLE_DEVICES")
        return f" (CUDA_VISIBLE_DEVICES={value})" if value is not None else ""
    simulated = os.environ.get(SIMULATED)
    said = library.hiding_variable() or (f"{SIMULATED}={simulated}" if simulated else None)
    return f" ({said})" if said else ""


def _answer(question: Callable[[], Answer]) -> Answer:
    """What ``question`` answers; its refusal becomes ours."""
    from launch.mlu import MLUError

    try:
        return question()
    except MLUError as error:
        raise DeviceError(str(error)) from error


def _count(key: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise DeviceError(f"accelerator.{key}={value} is not a whole number.") from None
    if number < 1:
        raise DeviceError(f"accelerator.{key}={value}: it must be at least 1.")
    return number
