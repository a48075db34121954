"""The tensors of a checkpoint, wherever they are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

__all__ = ["all_tensors", "count_bytes"]


def count_bytes(value: Any) -> int:
    """Bytes of all tensors in ``value``, each storage once."""
    sizes = {(str(t.device), t.untyped_storage().data_ptr()): t.untyped_storage().nbytes() for t in all_tensors(value)}
    return sum(sizes.values())


def all_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Those in ``value``, in mappings, lists and tuples of any depth."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from all_tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from all_tensors(item)
