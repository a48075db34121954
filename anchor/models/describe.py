"""Networks that know how they were built: a checkpoint keeps this plain description beside the weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from anchor.errors import CheckpointError

__all__ = ["build_network", "check_description", "describe", "is_same", "network"]

# What a description may ask for. It comes with weights, from anybody, and costs memory and time before they are looked
# at: the largest preset, hd384, has 12 million numbers, widths of 384 and lists of 6.
MOST_NUMBERS = 2**30  # of weights and statistics: 4 GiB
MOST, MOST_LISTED, MOST_PX = 2**16, 64, 2048

Net = TypeVar("Net", bound=nn.Module)
_REGISTRY: dict[str, type[nn.Module]] = {}


def network(kind: str) -> Callable[[type[Net]], type[Net]]:
    """Class decorator: instances remember their keyword arguments, and ``kind`` says what the network is for."""

    def register(cls: type[Net]) -> type[Net]:
        constructor = cls.__init__

        def remember(self: Net, **options: Any) -> None:
            constructor(self, **options)
            if type(self) is cls:
                self.description = {"name": cls.__name__, "kind": kind, "options": _plain(options)}  # type: ignore[assignment]

        remember.__wrapped__ = constructor  # type: ignore[attr-defined]  # the signature stays readable
        cls.__init__ = remember  # type: ignore[method-assign,assignment]
        _REGISTRY[cls.__name__] = cls
        return cls

    return register


def describe(net: nn.Module) -> dict[str, Any]:
    """``{"name", "kind", "options"}``: enough for :func:`build_network`, in plain types."""
    return dict(net.description)  # type: ignore[arg-type]


def build_network(description: Mapping[str, Any], most_numbers: int = MOST_NUMBERS) -> nn.Module:
    """A fresh network with the architecture of ``description``, which :func:`check_description` has found to be one."""
    check_description(description, most_numbers)
    return _REGISTRY[description["name"]](**description["options"])


def check_description(description: Mapping[str, Any], most_numbers: int = MOST_NUMBERS) -> None:
    """See that ``description`` can be built, without the memory for it.

    ``most_numbers`` bounds the weights and statistics that it may ask for: the bytes of the file that brings both, say.

    Raises:
        CheckpointError: the description names no network of this version, or asks for more than that.
    """
    try:
        _check_options(description["options"])
        with torch.device("meta"):
            plan = _REGISTRY[description["name"]](**description["options"])
        numbers = sum(tensor.numel() for tensor in plan.state_dict().values())
        if numbers > min(most_numbers, MOST_NUMBERS):
            raise ValueError(f"it asks for {numbers} numbers, and may have {min(most_numbers, MOST_NUMBERS)}")
    except Exception as error:  # what a checkpoint from elsewhere says may be anything
        raise CheckpointError(
            f"The network description {description!s:.300} fits no network of this version ({error!s:.200}). "
            f"Known are {', '.join(sorted(_REGISTRY))}."
        ) from None


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        listed = value if isinstance(value, (list, tuple)) else [value]
        most = MOST_PX if name == "image_size" else MOST
        if len(listed) > MOST_LISTED or any(isinstance(one, (int, float)) and not one <= most for one in listed):
            raise ValueError(f"{name} may have numbers up to {most}, {MOST_LISTED} at most")


def is_same(one: object, other: object) -> bool:
    """Whether two descriptions are of one network; an option that one of them leaves out has its default there."""
    return _filled(one) == _filled(other)


def _filled(description: object) -> object:
    if not isinstance(description, Mapping) or not isinstance(options := description.get("options"), Mapping):
        return description
    cls = _REGISTRY.get(str(description.get("name")))
    parameters = inspect.signature(cls.__init__).parameters.values() if cls is not None else ()
    defaults = {one.name: _plain(one.default) for one in parameters if one.default is not one.empty}
    return {**description, "options": {**defaults, **options}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (str, bool, int, float, type(None))):
        return value
    return [_plain(item) for item in value]
