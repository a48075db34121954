"""Networks out of checkpoints, without a trainer and without running anything that stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from anchor.errors import CheckpointError, ConfigError
from anchor.models.describe import build_network
from anchor.models.exported import is_export, load_export
from anchor.models.seals import check_seal
from anchor.models.tensors import load_tensors
from anchor.ops.mel import mel_config_hash

__all__ = ["EMA_STATE", "WeightKind", "check_mel", "held_networks", "load_network", "read_checkpoint"]

EMA_STATE = "ema_state_dict"  # of a checkpoint: averaged weights, by the names of ``state_dict``; what learns alone
WeightKind = Literal["auto", "ema", "raw"]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint at ``path``, on the CPU, read with ``weights_only=True``: tensors and plain types only.

    One that a training wrote carries a seal, and is read only if its bytes are those that were written.

    Raises:
        CheckpointError: it is missing, damaged, or holds more than tensors and plain types.
    """
    path = Path(path)
    if not path.is_file():
        near = [str(other) for other in sorted(path.parent.glob("*.ckpt"))] if path.parent.is_dir() else []
        hint = f" In its folder stand {', '.join(near[:5])}." if near else ""
        raise CheckpointError(
            f"{path}: no such checkpoint.{hint} A stage leaves it as <run_dir>/checkpoints/last.ckpt."
        )
    try:
        check_seal(path)
        checkpoint = load_tensors(path, "checkpoint")
    except CheckpointError as error:
        raise CheckpointError(f"{error} Use another one of its folder.") from None
    parts = (
        [checkpoint.get(key) for key in ("hyper_parameters", "state_dict")] if isinstance(checkpoint, dict) else [None]
    )
    if not all(isinstance(part, dict) for part in parts):
        raise CheckpointError(f"{path}: not a checkpoint of `anchor train`: it describes no network.")
    return checkpoint


def held_networks(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The descriptions of the networks in a checkpoint, by the attribute of the stage that holds each."""
    return {
        key: value
        for key, value in checkpoint["hyper_parameters"].items()
        if isinstance(value, dict) and "kind" in value
    }


def check_mel(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """See that the networks of ``checkpoint`` hear what this program computes; older ones do not say.

    Raises:
        CheckpointError: they were taught on mels of another configuration.
    """
    held = checkpoint["hyper_parameters"].get("mel_config_hash", mel_config_hash())
    if held != mel_config_hash():
        raise CheckpointError(
            f"{path}: it was taught on mels of configuration {held!s:.40}, and this anchor computes "
            f"{mel_config_hash()}. Use the version of anchor that made it, or teach it anew."
        )


def load_network(path: str | Path, kind: str, weights: WeightKind = "auto") -> nn.Module:
    """The network of ``kind`` (expert, generator or discriminator) at ``path``, in eval mode.

    ``path`` is a checkpoint that a stage left, a folder that `anchor export` wrote, or its ``model.safetensors``.
    ``weights="ema"`` takes the averaged ones, ``"raw"`` the last step's, ``"auto"`` averaged ones where there are some;
    an export holds one kind, and ``"auto"`` and ``"raw"`` take it as it is.

    Raises:
        CheckpointError: it cannot be read, holds no network of this kind or no averaged weights, or hears another mel.
    """
    if weights not in get_args(WeightKind):
        raise ConfigError(f"weights={weights} is no choice. Choose one of {', '.join(get_args(WeightKind))}.")
    if is_export(path):
        if weights == "ema":
            raise CheckpointError(f"{path}: an export holds one kind of weights. Give weights=auto.")
        return load_export(path, kind)
    checkpoint = read_checkpoint(path)
    if kind != "discriminator":
        check_mel(path, checkpoint)
    held = held_networks(checkpoint)
    for attribute, description in held.items():
        if description["kind"] != kind:
            continue
        state = _choose(checkpoint, f"{attribute}.", weights, path)
        net = build_network(description, Path(path).stat().st_size)
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: its weights do not fit its own description ({_first_line(error)}). Take another checkpoint."
            ) from None
        return net.eval()
    found = ", ".join(f"{value['kind']!s:.40} ({value.get('name')!s:.40})" for value in held.values()) or "no network"
    found = found[:300]
    stage = {"expert": "syncnet", "generator": "generator, finetune or quality", "discriminator": "quality"}
    raise CheckpointError(
        f"{path}: {'an' if kind == 'expert' else 'a'} {kind} is needed here, and this checkpoint holds {found}. "
        f"Give one that experiment={stage.get(kind, kind)} left."
    )


def _first_line(error: RuntimeError) -> str:
    """The first of the tensors that PyTorch has to say something of, and how many more there are."""
    first, *others = str(error).split("\n\t")[1:] or [str(error)]
    return f"{' '.join(first.split())[:300].rstrip('.')}{f', and {len(others)} more' * bool(others)}"


def _choose(checkpoint: dict[str, Any], prefix: str, weights: WeightKind, path: str | Path) -> dict[str, Any]:
    """The weights below ``prefix``: raw, with the averaged ones over them where they are wanted."""

    def below(state: dict[str, Any]) -> dict[str, Any]:
        return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}

    averaged = below(checkpoint.get(EMA_STATE, {})) if weights != "raw" else {}
    if weights == "ema" and not averaged:
        raise CheckpointError(
            f"{path}: it holds no averaged weights. Give weights=raw or auto, or train with callbacks=ema."
        )
    return {**below(checkpoint["state_dict"]), **averaged}
