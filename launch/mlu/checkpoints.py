"""Checkpoints without a trace of the card: tensors are saved from the CPU, so that any machine opens them.

A tensor that was saved on an MLU asks for an MLU when it is loaded, and PyTorch refuses where there is none.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

__all__ = ["MLUCheckpointIO", "to_cpu"]


def to_cpu(checkpoint: Any) -> Any:
    """``checkpoint`` with every tensor on the CPU; what is there already is not copied, and what is one stays one.

    Dictionaries, lists and tuples are walked through; all else is taken as it is.
    """
    return _to_cpu(checkpoint, {})


def _to_cpu(value: Any, moved: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if value.device.type == "cpu":
            return value
        if id(value) not in moved:
            moved[id(value)] = value.detach().cpu()
        return moved[id(value)]
    if isinstance(value, dict):
        copy = value.copy()  # an OrderedDict stays one, with the metadata that state_dict() hangs on it
        copy.update({key: _to_cpu(item, moved) for key, item in value.items()})
        if hasattr(value, "_metadata"):
            copy._metadata = value._metadata  # type: ignore[attr-defined]
        return copy
    if isinstance(value, list):
        return [_to_cpu(item, moved) for item in value]
    if isinstance(value, tuple):
        items = [_to_cpu(item, moved) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


class MLUCheckpointIO(TorchCheckpointIO):
    """Lightning's plain checkpoints, saved from the CPU and loaded to it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``."""
        super().save_checkpoint(to_cpu(checkpoint), path, storage_options)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """What was written there, on the CPU unless ``map_location`` says otherwise."""
        where: Any = torch.device("cpu") if map_location is None else map_location
        return super().load_checkpoint(path, map_location=where, weights_only=weights_only)
