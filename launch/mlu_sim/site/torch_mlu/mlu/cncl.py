"""The process group ``cncl``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from torch_mlu import _MLUC

VERSION = (0, 0, 0)


def version() -> tuple[int, int, int]:
    """There is no CNCL here."""
    return VERSION


def register() -> None:
    """Let ``init_process_group("cpu:gloo,mlu:cncl")`` know the name."""
    if not dist.is_available() or "cncl" in dist.Backend.backend_list:
        return
    dist.Backend.register_backend("cncl", _make, devices=["mlu"])
    dist.ProcessGroupCNCL = _MLUC.ProcessGroupCNCL  # type: ignore[attr-defined]
    dist.is_cncl_available = lambda: True  # type: ignore[attr-defined]


def _make(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
    inner = torch._C._distributed_c10d.ProcessGroupGloo(store, rank, size, timeout=timeout)
    return _MLUC.ProcessGroupCNCL(inner, rank, size)
