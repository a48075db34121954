"""What an ONNX file may refer to: itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["keeps_weights_elsewhere"]


def keeps_weights_elsewhere(path: Path) -> bool:
    """Whether the ONNX file at ``path`` says that tensors of it lie in other files; none of these is opened.

    ONNX Runtime of before 1.24 reads any file that is named so, wherever it lies.

    Raises:
        Exception: it is no ONNX file; protobuf has kinds of its own.
    """
    import onnx

    return _refers(onnx.load(str(path), load_external_data=False), onnx.TensorProto)


def _refers(message: Any, tensor: type) -> bool:
    if isinstance(message, tensor):
        return bool(message.external_data) or message.data_location == tensor.EXTERNAL  # type: ignore[attr-defined]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = [value] if hasattr(value, "ListFields") else value
        if any(_refers(part, tensor) for part in parts):
            return True
    return False
