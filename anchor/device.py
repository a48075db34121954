"""Names of devices: what ``device=auto|mlu|cuda|cpu`` means on this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from anchor.errors import DeviceError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "mlu", "cuda", "cpu")
CPU_FACTS = Path("/proc/cpuinfo")


def cpu_computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX).

    Elsewhere PyTorch widens every number in a loop of its own: a step of the tiny expert took eleven times as long as
    in float32 on an AMD EPYC of the third generation (docs/cost.md).
    """
    try:
        flags = CPU_FACTS.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def has_mlu() -> bool:
    """Whether torch_mlu is installed and sees a card.

    Raises:
        DeviceError: torch_mlu is installed and cannot be imported, most often because it is made for another PyTorch.
    """
    import torch

    if importlib.util.find_spec("torch_mlu") is None:
        return False
    try:
        importlib.import_module("torch_mlu")
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(
            f"torch_mlu {_version('torch_mlu')} cannot be imported with PyTorch {torch.__version__}: {error}. "
            "Install the pair of one release of Cambricon's, or use device=cpu."
        ) from error
    return bool(torch.mlu.is_available())  # type: ignore[attr-defined]


def resolve_device(name: str = "auto") -> torch.device:
    """The torch device behind ``name``; ``auto`` takes an MLU, then CUDA, then the CPU.

    Raises:
        DeviceError: the device is unknown, or was asked for by name and is absent. There is no silent fall to the CPU.
    """
    import torch

    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise DeviceError(f"device={name} is unknown. Choose one of {', '.join(DEVICES)}.")
    if kind == "auto":
        return torch.device("mlu" if has_mlu() else "cuda" if torch.cuda.is_available() else "cpu")
    if kind == "mlu" and not has_mlu():
        raise DeviceError(
            f"device={name}: torch_mlu is not installed or sees no card. Use device=cpu, or the vendor's image."
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device={name}: PyTorch {torch.__version__} sees no CUDA card. Use device=cpu or device=auto."
        )
    cards = 1 if kind == "cpu" else getattr(torch, kind).device_count()
    if number and int(number) >= cards:
        raise DeviceError(
            f"device={name}: this machine shows {cards} {kind.upper()} card{'s'[: cards != 1]}, from 0 on."
        )
    return torch.device(name)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
