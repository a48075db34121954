"""Networks that know how they were built: a checkpoint keeps this plain description beside the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from anchor.errors import CheckpointError

__all__ = ["build_network", "describe", "network"]

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


def build_network(description: Mapping[str, Any]) -> nn.Module:
    """A fresh network with the architecture of ``description``.

    Raises:
        CheckpointError: the description names no network of this version.
    """
    try:
        return _REGISTRY[description["name"]](**description["options"])
    except Exception as error:  # what a checkpoint from elsewhere says may be anything
        raise CheckpointError(
            f"The network description {description!s:.300} fits no network of this version ({error!s:.200}). "
            f"Known are {', '.join(sorted(_REGISTRY))}."
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (str, bool, int, float, type(None))):
        return value
    return [_plain(item) for item in value]
