"""Trained networks as files for elsewhere: safetensors with a card, and ONNX."""

from anchor.export.write import export, read_with_card, write_network

__all__ = ["export", "read_with_card", "write_network"]
