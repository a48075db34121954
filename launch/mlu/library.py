"""torch_mlu, the library behind the cards: whether it is there, whether it fits PyTorch, and what it sees.

Public torch_mlu has no entry point that PyTorch loads by itself, so it is imported here, and by name. Nothing of
``torch.accelerator`` is used: the torch 2.4 that public builds are made for does not have it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
from typing import Any

import torch

from launch.mlu.errors import MLUError

__all__ = ["card_name", "cards", "has_bfloat16", "hiding_variable", "is_installed", "load", "torch_mlu_version"]

VISIBLE = ("CN_VISIBLE_DEVICES", "MLU_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")  # in the order torch_mlu reads them


def is_installed() -> bool:
    """Whether a torch_mlu can be imported, fitting or not."""
    return importlib.util.find_spec("torch_mlu") is not None


def torch_mlu_version() -> str:
    """The version of the installed torch_mlu, such as ``1.22.1+torch2.4.0``; found without importing it."""
    for name in ("torch_mlu", "torch-mlu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def load() -> Any:
    """torch_mlu, imported; from then on PyTorch knows the device ``mlu``.

    Raises:
        MLUError: it is not installed, was built for another PyTorch, or cannot be imported.
    """
    if not is_installed():
        raise MLUError(
            "torch_mlu is not installed, and without it PyTorch knows no MLU. It comes with Cambricon's image for "
            "PyTorch; on a machine without cards, use another accelerator."
        )
    version = torch_mlu_version()
    built_for = re.search(r"torch(\d+\.\d+)", version)
    ours = ".".join(torch.__version__.split(".")[:2])
    if built_for and built_for[1] != ours:
        raise MLUError(
            f"torch_mlu {version} is made for PyTorch {built_for[1]}, and PyTorch {torch.__version__} is installed. "
            "Install the pair of one release of Cambricon's."
        )
    try:
        return importlib.import_module("torch_mlu")
    except (ImportError, OSError) as error:
        raise MLUError(
            f"torch_mlu {version} cannot be imported with PyTorch {torch.__version__}: {error}. "
            "Install the pair of one release of Cambricon's."
        ) from error


def cards() -> int:
    """How many cards this process may use; 0 without torch_mlu.

    Raises:
        MLUError: torch_mlu is there and does not fit.
    """
    if not is_installed():
        return 0
    load()
    return int(torch.mlu.device_count())  # type: ignore[attr-defined]


def card_name(index: int = 0) -> str:
    """What the card calls itself, such as ``MLU590-M9``."""
    return str(torch.mlu.get_device_name(index))  # type: ignore[attr-defined]


def has_bfloat16() -> bool:
    """Whether the cards compute in bfloat16, as torch_mlu says."""
    load()
    return bool(torch.mlu.is_bf16_supported())  # type: ignore[attr-defined]


def hiding_variable() -> str | None:
    """The environment variable that says which cards are visible, as ``NAME=value``; None where none does."""
    name = next((name for name in VISIBLE if name in os.environ), None)
    return f"{name}={os.environ[name]}" if name else None
