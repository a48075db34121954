"""Which classes a configuration may name: an allow-list, checked before anything is built.

Hydra's own block list is no boundary by its authors' word: `_target_: torch.load` executes a pickle. Here a target
must start with one of a few packages and must resolve to a class that was defined there; functions, and whatever a
module merely imports, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from anchor.errors import ConfigError

__all__ = ["ALLOWED", "check_target", "check_targets"]

ALLOWED = (
    "anchor.models.",
    "datamodules.",
    "launch.checkpoints.",
    "launch.tracking.",
    "lightning_modules.",
    "torch.optim.",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
)


def check_targets(config: Any) -> None:
    """See that every ``_target_`` anywhere in the resolved ``config`` is allowed; nothing is built.

    Raises:
        ConfigError: a target that is not on the list, names nothing, or leads elsewhere through an import; or text
            that would be resolved once more, and could hide a target until then.
    """
    for place, text in _texts(config, ""):
        if "${" in text:
            said = f"{text:.300} is not allowed: an interpolation that is still text after resolving."
            raise ConfigError(f"{place}={said}")
    for place, target in _targets(config, ""):
        check_target(place, target)


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(str(key), place)
            yield from _texts(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _texts(item, f"{place}[{i}]")
    elif isinstance(value, str):
        yield place, value


def _targets(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "_target_":
                if item is not None:
                    yield place, item
            else:
                yield from _targets(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _targets(item, f"{place}[{i}]")


def check_target(place: str, target: Any, allowed: tuple[str, ...] = ALLOWED) -> None:
    """See that ``target`` names a class that a package of ``allowed`` defines; ``place`` is where it stands.

    Raises:
        ConfigError: it does not.
    """
    where = f"{place or 'config'}._target_={target!s:.300}"
    if not isinstance(target, str) or not target.startswith(allowed):
        raise ConfigError(f"{where} is not allowed. A target is a class of {', '.join(p[:-1] for p in ALLOWED)}.")
    package = next(prefix for prefix in allowed if target.startswith(prefix))
    found = _resolve(target)
    if not isinstance(found, type) or not f"{found.__module__}.".startswith(package):
        raise ConfigError(f"{where} is not allowed: it names no class that {package[:-1]} defines.")


def _resolve(target: str) -> Any:
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            found = getattr(found, name, None)
        return found
    return None
