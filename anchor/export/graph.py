"""A network as one ONNX file: norms folded, batch free, the card inside."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anchor.errors import ConfigError
from anchor.models.card import CARD_KEY
from anchor.models.folding import fold_norms
from anchor.models.sizes import example_inputs

__all__ = ["OPSET", "write_graph"]

OPSET = 17  # what the TorchScript exporter of every torch from 2.4 on writes


def write_graph(net: nn.Module, card: Mapping[str, Any], path: Path) -> None:
    """Write ``net`` to ``path``, with the names that ``card`` gives its inputs and outputs.

    Raises:
        ConfigError: the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"model.onnx needs a package ({error}). Run pip install onnx, or give onnx=false.") from None
    inputs = [port["name"] for port in card["inputs"]]
    outputs = [port["name"] for port in card["outputs"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an exporter that is going to be replaced, and of shapes that are constant
        # The newer exporter (dynamo=True) needs a package more, and differs from release to release.
        torch.onnx.export(
            fold_norms(net),
            example_inputs(net, image_size=card["image_size"]),
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in inputs + outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, json.dumps(card)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
