"""The card of an exported network: what it is, what goes in, what comes out, and whence it came; plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from anchor.errors import CheckpointError
from anchor.models.describe import describe
from anchor.models.sizes import example_inputs
from anchor.ops.mel import MEL_PARAMETERS, mel_config_hash
from anchor.timing import FPS, WINDOW_FRAMES, mel_steps

__all__ = ["CARD_KEY", "CARD_NAME", "FORMAT_VERSION", "describe_ports", "make_card", "read_card"]

CARD_NAME = "card.json"
CARD_KEY = "anchor.card"  # where an ONNX file carries it
FORMAT = "anchor network"
FORMAT_VERSION = 1

MEL_RANGE = [-4.0, 4.0]
PORTS = {
    "generator": (
        {"name": "face", "range": [-1.0, 1.0], "what": "RGB target with its lower half 0, then its RGB references"},
        {"name": "mel", "range": MEL_RANGE, "what": "log-mel window centred on the frame: bins, steps"},
        {"name": "mouth", "range": [-1.0, 1.0], "what": "RGB lower half"},
    ),
    "expert": (
        {"name": "mouths", "range": [-1.0, 1.0], "what": "RGB lower halves of as many frames in a row"},
        {"name": "mel", "range": MEL_RANGE, "what": "log-mel window of the same frames: bins, steps"},
        {"name": "mouth_embedding", "range": [-1.0, 1.0], "what": "unit vector"},
        {"name": "speech_embedding", "range": [-1.0, 1.0], "what": "unit vector"},
    ),
    "discriminator": (
        {"name": "mouth", "range": [-1.0, 1.0], "what": "RGB lower half"},
        {"name": "score", "range": None, "what": "raw score, high means real"},
    ),
}
NUM_INPUTS = {"generator": 2, "expert": 2, "discriminator": 1}


def describe_ports(net: nn.Module, image_size: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of ``net``: name, shape with ``"N"`` for the batch, dtype, range, meaning."""
    kind = describe(net)["kind"]
    inputs = example_inputs(net, image_size=image_size)
    with torch.no_grad():
        outputs = net(*inputs)
    tensors = [*inputs, *(outputs if isinstance(outputs, tuple) else (outputs,))]
    ports = [
        {**port, "shape": ["N", *tensor.shape[1:]], "dtype": "float32"}
        for port, tensor in zip(PORTS[kind], tensors, strict=True)
    ]
    return ports[: NUM_INPUTS[kind]], ports[NUM_INPUTS[kind] :]


def make_card(net: nn.Module, image_size: int, **about: Any) -> dict[str, Any]:
    """The card of ``net``; ``about`` adds what is known of its origin."""
    inputs, outputs = describe_ports(net, image_size)
    description = describe(net)
    frames = int(getattr(net, "window_frames", WINDOW_FRAMES))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": description["kind"],
        "network": description,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "image_size": image_size,
        "fps": FPS,
        "window_frames": frames,
        "window_mel_steps": mel_steps(frames),
        "mel_config_hash": mel_config_hash(),
        "audio": MEL_PARAMETERS,
        "inputs": inputs,
        "outputs": outputs,
        **about,
    }


def read_card(text: str | bytes, where: str, kind: str | None = None) -> dict[str, Any]:
    """The card in ``text``, of this format and of a network of ``kind``; ``where`` names it in errors.

    Raises:
        CheckpointError: it is no card, of another format version, of another kind, or hears another mel.
    """
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: not a card, for it is no JSON ({error}). Export the checkpoint again."
        ) from None
    if not isinstance(card, Mapping) or card.get("format") != FORMAT:
        raise CheckpointError(f"{where}: not the card of an exported network. Export the checkpoint again.")
    if card.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: its format is version {card.get('format_version')!s:.40}, and this anchor reads "
            f"{FORMAT_VERSION}. Export the checkpoint again with this version."
        )
    wanted = {"kind": str, "network": dict, "image_size": int, "mel_config_hash": str}
    missing = [key for key, kept_as in wanted.items() if not isinstance(card.get(key), kept_as)]
    if missing:
        raise CheckpointError(f"{where}: the card lacks {', '.join(missing)}. Export the checkpoint again.")
    if kind is not None and card["kind"] != kind:
        raise CheckpointError(f"{where}: {_a(kind)} is needed here, and this is the card of {_a(card['kind'][:40])}.")
    if card["mel_config_hash"] != mel_config_hash() and card["kind"] != "discriminator":
        raise CheckpointError(
            f"{where}: it was taught on mels of configuration {card['mel_config_hash']:.40}, and this anchor computes "
            f"{mel_config_hash()}. Use the version it was exported with ({card.get('anchor_version')!s:.40})."
        )
    return dict(card)


def _a(kind: str) -> str:
    return f"{'an' if kind == 'expert' else 'a'} {kind}"
