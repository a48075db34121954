"""`anchor export`: a checkpoint becomes files that need neither the trainer nor this machine."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from anchor import __version__
from anchor.errors import CheckpointError, ConfigError
from anchor.export.graph import OPSET, write_graph
from anchor.export.parity import ONNX_BOUND, check_graph, check_weights
from anchor.files import put_folder
from anchor.models.card import CARD_NAME, make_card
from anchor.models.checkpoint import EMA_STATE, WeightKind, held_networks, load_network, read_checkpoint
from anchor.models.exported import ONNX_NAME, WEIGHTS_NAME, hash_file, is_export
from anchor.models.seals import read_seal
from anchor.models.sizes import show_size
from anchor.models.tensors import save_tensors
from anchor.models.wav2lip import to_wav2lip

__all__ = ["export", "read_with_card", "write_network"]

EXPORT_FILES = {WEIGHTS_NAME, ONNX_NAME, CARD_NAME}


def export(
    *,
    checkpoint: Path,
    out: Path,
    kind: Literal["auto", "generator", "expert", "discriminator"] = "auto",
    onnx: bool = True,
    weights: WeightKind = "auto",
    layout: Literal["anchor", "wav2lip"] = "anchor",
) -> None:
    """A trained network as a folder without pickle: model.safetensors, model.onnx, card.json.

    checkpoint: what `anchor train` left. out: a new folder, or one that holds an earlier export.
    kind: which network of the checkpoint; auto is the one that its stage teaches. onnx=false leaves model.onnx out.
    weights: ema (averaged), raw, or auto: averaged where the checkpoint has them.
    layout=wav2lip writes the network of model=wav2lip96 as a state dict with the public names, into the new file out=;
    `anchor import weights` is the way back.

    Both files are compared with the checkpoint on a random input before the folder appears. `anchor infer
    checkpoint=` and `module.base=` take the folder; `anchor infer` also takes model.onnx alone.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if layout == "wav2lip":
        write_wav2lip(checkpoint, out, kind, weights)
        return
    _check_out(out)
    if is_export(checkpoint):
        raise CheckpointError(f"checkpoint={checkpoint} is an export already. Give the checkpoint that training left.")
    net, card = read_with_card(checkpoint, kind, weights)
    place = out.resolve()
    partial = place.parent / f".{place.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"out={out}: no folder can be made there ({error.strerror}). Give another out=.") from None
    try:
        notes = write_network(net, card, partial, onnx)
        put_folder(partial, place)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"out={out} cannot be written ({error}). Nothing was changed.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{out}: {card['kind']} of stage {card['stage']}, {show_size(net, card['image_size'])}")
    for name, note in notes.items():
        print(f"  {name:<18}{(out / name).stat().st_size / 1e6:8.2f} MB  {note}")


def write_wav2lip(checkpoint: Path, out: Path, kind: str, weights: WeightKind) -> None:
    """The state dict of a classic network under its public names, as ``{"state_dict": ...}`` in the new file ``out``.

    Raises:
        CheckpointError: the network is of another layout.
    """
    if out.exists():
        raise ConfigError(f"out={out} exists already. Give the name of a new file, such as wav2lip.pth.")
    if kind == "auto":
        kind = _main_kind(read_checkpoint(checkpoint), checkpoint)
    state = to_wav2lip(load_network(checkpoint, kind, weights))
    save_tensors({"state_dict": state}, out)
    print(f"{out}: {kind} in Wav2Lip's layout, {len(state)} names")


def read_with_card(
    checkpoint: Path, kind: str = "auto", weights: WeightKind = "auto"
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint in eval mode, and its card.

    Raises:
        CheckpointError: the checkpoint cannot be read, or holds no such network.
    """
    held = read_checkpoint(checkpoint)
    net = load_network(checkpoint, _main_kind(held, checkpoint) if kind == "auto" else kind, weights)
    return net, make_card(net, _image_size(net, held), **_origin(held, checkpoint, weights))


def write_network(net: nn.Module, card: dict[str, Any], folder: Path, onnx: bool = True) -> dict[str, str]:
    """Write ``net`` and its card into ``folder``, which exists; what was found, by file.

    Raises:
        CheckpointError: what was written computes otherwise.
        OSError, SafetensorError: a file cannot be written.
    """
    image_size = card["image_size"]
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, folder / WEIGHTS_NAME)
    notes = {WEIGHTS_NAME: "same bits as the checkpoint on a random input"}
    if onnx:
        write_graph(net, card, folder / ONNX_NAME)
        difference = check_graph(net, folder / ONNX_NAME, image_size)
        notes[ONNX_NAME] = f"opset {OPSET}, differs by at most {difference:.1e} (bound {ONNX_BOUND:.0e})"
    card = {**card, "sha256": {name: hash_file(folder / name) for name in notes}}
    (folder / CARD_NAME).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    check_weights(net, load_network(folder, card["kind"]), image_size)
    return {**notes, CARD_NAME: "what goes in and comes out, and whence it came"}


def _check_out(out: Path) -> None:
    if out.is_file():
        raise ConfigError(f"out={out} is a file. Give the name of a folder.")
    others = sorted(path.name for path in out.iterdir() if path.name not in EXPORT_FILES) if out.is_dir() else []
    if others:
        raise ConfigError(
            f"out={out} holds other things ({', '.join(others[:5])}). Give a new folder, for it is replaced as a whole."
        )


def _main_kind(held: Mapping[str, Any], checkpoint: Path) -> str:
    networks = held_networks(dict(held))
    if not networks:
        raise CheckpointError(f"{checkpoint}: it holds no network. Give a checkpoint that `anchor train` left.")
    return networks["net"]["kind"] if "net" in networks else next(iter(networks.values()))["kind"]


def _image_size(net: nn.Module, held: Mapping[str, Any]) -> int:
    """The network's own, or that of the generator beside it: a discriminator takes any."""
    size = getattr(net, "image_size", None)
    if size is None:
        size = held_networks(dict(held)).get("net", {}).get("options", {}).get("image_size", 96)
    return int(size)


def _origin(held: Mapping[str, Any], checkpoint: Path, weights: WeightKind) -> dict[str, Any]:
    """Whence the network comes: version, stage, file, and how far training was."""
    source: dict[str, Any] = {"file": checkpoint.name, "sha256": hash_file(checkpoint)}
    if seal := read_seal(checkpoint):
        source["seal"] = seal.sha256  # by which trackers name the checkpoint
    if held.get(EMA_STATE):
        source["weights"] = "raw" if weights == "raw" else "ema"
    try:  # batches; ``global_step`` counts every optimizer's step
        source["step"] = int(held["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"])
    except (KeyError, TypeError):
        if "global_step" in held:
            source["step"] = int(held["global_step"])
    metrics = {}
    for state in (held.get("callbacks") or {}).values():
        if isinstance(state, Mapping) and state.get("monitor") and state.get("current_score") is not None:
            score = float(torch.as_tensor(state["current_score"]))
            metrics[state["monitor"]] = round(score, 6) if math.isfinite(score) else None  # JSON knows no nan
    if metrics:
        source["metrics"] = metrics  # of the last validation before the checkpoint was written
    return {"anchor_version": __version__, "stage": held["hyper_parameters"].get("stage"), "source": source}
