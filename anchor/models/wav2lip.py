"""The public layout of Wav2Lip's state dicts (Prajwal et al. 2020), and the way there and back.

Names and shapes are facts of the published files; nothing else of them is used. Theirs are BGR and ours RGB, so the
colour channels of the first and the last convolution are turned round, in groups of three: a change of order alone, to
the bit, and its own inverse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.models.classic import ClassicGenerator
from anchor.models.classic_syncnet import ClassicSyncNet
from anchor.models.discriminator import ClassicDiscriminator

__all__ = ["LAYOUT_KINDS", "from_wav2lip", "make_classic", "to_wav2lip"]

LAYOUT_KINDS = ("generator", "expert", "discriminator")
BLOCK = {"conv": "conv_block.0", "norm": "conv_block.1"}  # of a block of ours, and of theirs
# How their discriminator's thirteen convolutions are grouped; ours stand in one row with an activation after each.
GROUPS = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1), (6, 0), (6, 1))
OWN_ONLY = {"log_scale"}  # our expert's temperature, which the layout does not know


def make_classic(kind: str) -> nn.Module:
    """A fresh network of ``kind`` in the published size and colour range."""
    if kind == "generator":
        return ClassicGenerator(image_size=96, width=16)
    if kind == "expert":
        return ClassicSyncNet(image_size=96, width=16)
    return ClassicDiscriminator(width=32, spectral=False, unit_colours=True)


def from_wav2lip(state: Mapping[str, Tensor], net: nn.Module, where: str) -> None:
    """Fill ``net`` with the weights of ``state``; ``where`` names the file in errors.

    Raises:
        CheckpointError: a name is missing or unknown, or a shape or type differs; the first one is named.
    """
    own = net.state_dict()
    names = {key: _public_name(net, key) for key in own if key not in OWN_ONLY}
    kind = _kind(net)
    for key, name in names.items():
        wanted = tuple(own[key].shape)
        if name not in state:
            raise CheckpointError(
                f"{where}: no {kind} in Wav2Lip's layout: {name} {wanted} is missing"
                f"{_looks_like(state)}. Give kind= what the file holds."
            )
        found = state[name]
        if not isinstance(found, Tensor) or found.layout != torch.strided or tuple(found.shape) != wanted:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CheckpointError(
                f"{where}: {name} is {shape}, and Wav2Lip's {kind} has {wanted} there. It is of another size or "
                "variant; only the 96 px one fits."
            )
        if found.is_floating_point() != own[key].is_floating_point() or found.is_complex():
            raise CheckpointError(f"{where}: {name} is of type {found.dtype}, and {own[key].dtype} fits there.")
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{where}: {name} holds numbers that are not finite. Use another copy of the file.")
    unknown = sorted(set(state) - set(names.values()))
    if unknown:
        raise CheckpointError(
            f"{where}: {len(unknown)} names are not of Wav2Lip's {kind}, the first is {unknown[0]!r}. "
            "It is of another variant."
        )
    filled = {key: _turn(key, kind, state[name]).to(own[key].dtype) for key, name in names.items()}
    net.load_state_dict({**own, **filled})


def to_wav2lip(net: nn.Module) -> dict[str, Tensor]:
    """The weights of ``net`` under the public names; the inverse of :func:`from_wav2lip`, to the bit.

    Raises:
        CheckpointError: ``net`` is not of the classic layout.
    """
    kind = _kind(net)
    reference = make_classic(kind).state_dict()
    state = net.state_dict()
    for key, value in reference.items():
        if key not in state or state[key].shape != value.shape:
            raise CheckpointError(
                f"layout=wav2lip: {type(net).__name__} differs from the published {kind} at {key}. "
                "Only model=wav2lip96 in its full width has that layout."
            )
    return {
        _public_name(net, key): _turn(key, kind, value).contiguous().clone()
        for key, value in state.items()
        if key not in OWN_ONLY
    }


def _kind(net: nn.Module) -> str:
    for kind, cls in zip(LAYOUT_KINDS, (ClassicGenerator, ClassicSyncNet, ClassicDiscriminator), strict=True):
        if isinstance(net, cls):
            return kind
    raise CheckpointError(
        f"layout=wav2lip: {type(net).__name__} has another layout. It is for networks of model=wav2lip96."
    )


def _public_name(net: nn.Module, key: str) -> str:
    """The public name of our ``key``."""
    kind = _kind(net)
    if kind == "discriminator":
        _, index, what = key.split(".")
        number = int(index) // 2
        if number == len(GROUPS):
            return f"binary_pred.0.{what}"
        group, place = GROUPS[number]
        return f"face_encoder_blocks.{group}.{place}.conv_block.0.{what}"
    key = re.sub(r"\b(conv|norm)\b", lambda found: BLOCK[found[1]], key)
    audio = re.sub(r"^speech_encoder\.", "audio_encoder.", key)
    if kind == "expert":
        return re.sub(r"^mouth_encoder\.", "face_encoder.", audio)
    faces = re.sub(r"^identity_encoder\.", "face_encoder_blocks.", audio)
    faces = re.sub(r"^face_decoder\.stages\.", "face_decoder_blocks.", faces)
    return re.sub(r"^face_decoder\.output\.", "output_block.", faces)


def _turn(key: str, kind: str, value: Tensor) -> Tensor:
    """``value`` with the colours in the other order, where ``key`` meets colours."""
    first = {
        "generator": "identity_encoder.0.0.conv.weight",
        "expert": "mouth_encoder.0.conv.weight",
        "discriminator": "layers.0.weight",
    }
    if key == first[kind]:
        return value.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
    if kind == "generator" and key.startswith("face_decoder.output.1."):
        return value.flip(0)
    return value


def _looks_like(state: Mapping[str, Tensor]) -> str:
    """What the file rather holds, as half a sentence."""
    begins = {str(name).split(".")[0] for name in state}
    for kind, sign in (
        ("generator", "face_decoder_blocks"),
        ("discriminator", "binary_pred"),
        ("expert", "face_encoder"),
    ):
        if sign in begins:
            return f"; its names are those of the {kind}"
    return f"; its names begin with {', '.join(sorted(begins)[:5]) or 'nothing'}"
