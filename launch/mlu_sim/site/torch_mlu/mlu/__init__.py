"""``torch.mlu`` of the simulated card: the public names of torch_mlu r2.4 that have a meaning here.

A name of the real module that is not simulated (MLUGraph, cnpx, sensors, allocator plug-ins) raises AttributeError and
says so.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from torch_mlu import _MLUC
from torch_mlu.mlu import amp, cncl, memory, random, streams
from torch_mlu.mlu.amp import get_amp_supported_dtype
from torch_mlu.mlu.cards import (
    MLUDeviceProperties,
    can_device_access_peer,
    current_device,
    device,
    device_count,
    device_of,
    get_device_capability,
    get_device_name,
    get_device_properties,
    init,
    is_available,
    is_bf16_supported,
    is_fp8_supported,
    is_in_bad_fork,
    is_initialized,
    set_device,
    supports_linear_memory,
    synchronize,
)
from torch_mlu.mlu.memory import (
    OutOfMemoryError,
    empty_cache,
    ipc_collect,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_stats,
    memory_stats_as_nested_dict,
    memory_summary,
    reset_accumulated_memory_stats,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_memory_stats,
)
from torch_mlu.mlu.random import (
    default_generators,
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from torch_mlu.mlu.streams import (
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)

NOT_SIMULATED = frozenset(
    (
        "MLUGraph", "MLUPluggableAllocator", "ExternalStream", "caching_allocator_alloc", "caching_allocator_delete",
        "change_current_allocator", "check_error", "clock_rate", "cnpx", "cnrt", "cncl_stream", "graph",
        "graph_pool_handle", "graphs", "make_graphed_callables", "memory_snapshot", "power_draw", "precision_mode",
        "get_precision_mode", "get_precision_supported_op_list", "profiler", "set_per_process_memory_fraction",
        "set_precision_mode", "temperature", "utilization",
    )
)  # fmt: skip

# What torch itself asks of a device's module.
_lazy_init = init
_is_in_bad_fork = is_in_bad_fork
_exchange_device = _maybe_exchange_device = _MLUC.exchange_device
_DeviceGuard = device
sys.modules["torch.mlu.amp"] = amp


def is_current_stream_capturing() -> bool:
    """No graph is ever captured here."""
    return False


def __getattr__(name: str) -> NoReturn:
    if name in NOT_SIMULATED:
        raise AttributeError(f"torch.mlu.{name} is not simulated; it needs a real card.")
    raise AttributeError(f"module 'torch.mlu' has no attribute {name!r}")


__all__ = [
    "NOT_SIMULATED", "Event", "MLUDeviceProperties", "OutOfMemoryError", "Stream", "StreamContext", "amp",
    "can_device_access_peer", "cncl", "current_device", "current_stream", "default_generators", "default_stream",
    "device", "device_count", "device_of", "empty_cache", "get_amp_supported_dtype", "get_device_capability",
    "get_device_name", "get_device_properties", "get_rng_state", "get_rng_state_all", "init", "initial_seed",
    "ipc_collect", "is_available", "is_bf16_supported", "is_current_stream_capturing", "is_fp8_supported",
    "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_cached",
    "max_memory_reserved", "mem_get_info", "memory", "memory_allocated", "memory_cached", "memory_reserved",
    "memory_stats", "memory_stats_as_nested_dict", "memory_summary", "random", "reset_accumulated_memory_stats",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_memory_stats", "seed", "seed_all",
    "set_device", "set_rng_state", "set_rng_state_all", "set_stream", "stream", "streams", "supports_linear_memory",
    "synchronize",
]  # fmt: skip
