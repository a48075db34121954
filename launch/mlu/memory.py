"""A card short of memory: the error known for what it is, so that Lightning's search for a batch size goes on."""

from __future__ import annotations

import gc
import re
from typing import Any

import torch

__all__ = ["is_out_of_memory", "teach_lightning"]

# torch_mlu's allocator begins with "MLU out of memory. Tried to allocate"; the number of the card may stand between.
SHORT_OF_MEMORY = re.compile(r"\bMLU\b[^.]*out of memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an MLU is short of memory."""
    return isinstance(error, RuntimeError) and SHORT_OF_MEMORY.search(str(error)) is not None


def teach_lightning() -> None:
    """Let ``is_oom_error`` of Lightning know the card's words, and its tuner free the card's memory after them.

    Both look for CUDA alone, and offer no place to put more; the second time changes nothing.
    """
    from lightning.pytorch.tuner import batch_size_scaling
    from lightning.pytorch.utilities import memory

    known = memory.is_cuda_out_of_memory
    if getattr(known, "knows_mlu", False):
        return

    def is_out_of_any_memory(exception: BaseException) -> bool:
        return known(exception) or is_out_of_memory(exception)

    collect = memory.garbage_collection_cuda

    def collect_everywhere() -> None:
        collect()
        gc.collect()
        mlu: Any = getattr(torch, "mlu", None)
        if mlu is not None and mlu.is_available():
            mlu.empty_cache()

    is_out_of_any_memory.knows_mlu = True  # type: ignore[attr-defined]
    memory.is_cuda_out_of_memory = is_out_of_any_memory
    memory.garbage_collection_cuda = batch_size_scaling.garbage_collection_cuda = collect_everywhere
