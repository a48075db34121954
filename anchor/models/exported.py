"""Networks out of what `anchor export` wrote: weights in safetensors, a card beside them, and no pickle anywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.models.card import CARD_NAME, read_card
from anchor.models.describe import build_network, describe

__all__ = ["ONNX_NAME", "WEIGHTS_NAME", "hash_file", "is_export", "load_export"]

WEIGHTS_NAME = "model.safetensors"
ONNX_NAME = "model.onnx"


def is_export(path: str | Path) -> bool:
    """Whether ``path`` names a folder or a file of an export rather than a checkpoint."""
    return Path(path).is_dir() or Path(path).suffix in (".safetensors", ".onnx")


def hash_file(path: str | Path) -> str:
    """SHA-256 of the file, in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def load_export(path: str | Path, kind: str) -> nn.Module:
    """The network of ``kind`` in an export folder, or in its ``model.safetensors`` with the card beside it; eval mode.

    Raises:
        CheckpointError: a file is missing, damaged, of another export, format or kind.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path}: an ONNX file only draws (`anchor infer`). Give the folder that it stands in.")
    weights_path = path / WEIGHTS_NAME if path.is_dir() else path
    card_path = weights_path.parent / CARD_NAME
    if not weights_path.is_file():
        raise CheckpointError(
            f"{weights_path}: no such file. Give a checkpoint, or a folder that `anchor export` wrote."
        )
    if not card_path.is_file():
        raise CheckpointError(
            f"{card_path}: no such file; weights need their card. Copy the whole folder of the export."
        )
    card = read_card(card_path.read_bytes(), str(card_path), kind)
    expected = card.get("sha256", {}).get(WEIGHTS_NAME) if isinstance(card.get("sha256"), dict) else None
    if expected != hash_file(weights_path):
        raise CheckpointError(
            f"{weights_path}: its SHA-256 is not the one on {CARD_NAME}: it is damaged or of another export. "
            "Copy the folder again, or export the checkpoint again."
        )
    weights = _read_weights(weights_path)
    net = build_network(card["network"], weights_path.stat().st_size)
    if describe(net)["kind"] != kind:
        raise CheckpointError(f"{card_path}: it says {kind}, and its network is another. Export the checkpoint again.")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{weights_path}: its weights do not fit the network on its card ({reason}).") from None
    return net.eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}). Copy or export it again.") from None
