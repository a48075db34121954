"""Trained networks as files for elsewhere: safetensors with a card, and ONNX."""

from anchor.export.write import export

__all__ = ["export"]
