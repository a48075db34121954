"""Memory of a card, counted. There is no cache: what is allocated is what is reserved."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from torch_mlu import _MLUC
from torch_mlu.mlu.cards import get_device_index, init

OutOfMemoryError = torch._C.OutOfMemoryError  # type: ignore[attr-defined]


def memory_stats(device: Any = None) -> OrderedDict[str, int]:
    """Counters of a card, under the names that a caching allocator gives them."""
    used = _MLUC.memory(get_device_index(device))
    stats: OrderedDict[str, int] = OrderedDict()
    for pool in ("active_bytes", "allocated_bytes", "requested_bytes", "reserved_bytes"):
        stats[f"{pool}.all.current"] = used["current"]
        stats[f"{pool}.all.peak"] = used["peak"]
    stats["allocation.all.current"] = used["allocations"] - used["frees"]
    stats["allocation.all.allocated"] = used["allocations"]
    stats["allocation.all.freed"] = used["frees"]
    stats["num_alloc_retries"] = 0
    stats["num_ooms"] = used["refusals"]
    return stats


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """``memory_stats`` with a dictionary for each dot."""
    nested: dict[str, Any] = {}
    for key, value in memory_stats(device).items():
        *parents, last = key.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return nested


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors hold."""
    return _MLUC.memory(get_device_index(device))["current"]


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors held since the peak was reset."""
    return _MLUC.memory(get_device_index(device))["peak"]


memory_reserved = memory_cached = memory_allocated
max_memory_reserved = max_memory_cached = max_memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let the peak begin anew."""
    _MLUC.reset_peak(get_device_index(device))


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Let the counts of allocations begin anew."""
    _MLUC.reset_accumulated(get_device_index(device))


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Free and total bytes of a card."""
    init()
    total = _MLUC.capacity()
    return total - memory_allocated(device), total


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The counters as lines of text."""
    return "\n".join(f"{key:<32}{value:>20}" for key, value in memory_stats(device).items())


def empty_cache() -> None:
    """Nothing: there is no cache."""


def ipc_collect() -> None:
    """Nothing: no other process holds memory of a card."""
