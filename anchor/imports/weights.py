"""`anchor import weights`: a public state dict of Wav2Lip's layout as a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anchor.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["import_weights", "read_state"]

MAX_BYTES = 4 * 2**30  # the largest published file of this layout, with its optimizer, is under 1 GB
MAX_NAMES = 10_000  # the generator has 349
STAGES = {
    "generator": ("generator", "net"),
    "expert": ("syncnet", "net"),
    "discriminator": ("quality", "discriminator"),
}


def import_weights(*, source: Path, kind: Literal["generator", "expert", "discriminator"], out: Path) -> None:
    """A public state dict in Wav2Lip's layout as a checkpoint that every other command takes.

    source: a .pth or .pt file, which you bring. kind: which of the three networks it is. out: the checkpoint to write,
    a new file. Only tensors and plain types are read; every name and shape must be that of the published 96 px
    network, and the first that is not is named. `anchor export checkpoint=... out=FILE layout=wav2lip` goes back.
    """
    from anchor import __version__
    from anchor.models.describe import describe
    from anchor.models.sizes import show_size
    from anchor.models.tensors import save_tensors
    from anchor.models.wav2lip import from_wav2lip, make_classic
    from anchor.ops.mel import mel_config_hash

    source, out = Path(source), Path(out)
    if out.exists():
        raise ConfigError(f"out={out} exists already. Give a new name; nothing is written over.")
    state = read_state(source)
    net = make_classic(kind)
    from_wav2lip(state, net, str(source))
    stage, attribute = STAGES[kind]
    about = {"stage": stage, attribute: describe(net), "mel_config_hash": mel_config_hash()}
    checkpoint = {
        "state_dict": {f"{attribute}.{key}": value for key, value in net.state_dict().items()},
        "hyper_parameters": about,
        "imported": {"file": source.name, "layout": "wav2lip", "anchor_version": __version__},
    }
    save_tensors(checkpoint, out)
    print(f"{out}: {kind} of {source.name}, {show_size(net, 96)}")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of the state dict at ``path`` by name, without wrapper and without the prefix of parallel training.

    Raises:
        CheckpointError: the file is missing, too large, damaged, packed, holds objects, or holds no state dict.
    """
    import torch

    from anchor.models.tensors import load_tensors

    if not path.is_file():
        raise CheckpointError(f"source={path}: no such file. Give the .pth file that you have.")
    size = path.stat().st_size
    _check_size(path, size)
    held = load_tensors(path)
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping) or not held or len(held) > MAX_NAMES:
        what = f"{len(held)} names" if isinstance(held, Mapping) else type(held).__name__
        raise CheckpointError(f"{path}: no state dict, nor one under 'state_dict' (it holds {what}).")
    wrong = next((key for key, value in held.items() if not isinstance(key, str) or not torch.is_tensor(value)), None)
    if wrong is not None:
        raise CheckpointError(f"{path}: {str(wrong)[:80]!r} is no tensor, so this is no state dict.")
    state = dict(held)
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: {size / 2**30:.1f} GB, and at most {MAX_BYTES // 2**30} GB are read.")
