"""What a user meant: the nearest name to a group, a choice or a key that `anchor train` does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from anchor.arguments import nearest
from anchor.errors import ConfigError

__all__ = ["check_names", "explain"]


def check_names(arguments: Sequence[str]) -> None:
    """See that every ``key=value`` begins with a group or a key that exists; what ``+`` adds is the user's own.

    Raises:
        ConfigError: one does not; names the nearest.
    """
    known = _known_names()
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals or key.startswith(("-", "+")):
            continue
        top = re.split(r"[.@:]", key.lstrip("~"))[0]
        if top and top not in known and "/" not in top:
            raise ConfigError(f"{top}= is unknown.{nearest(top, known)} Groups and keys are {', '.join(known)}.")


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """Hydra's error as one sentence that names the nearest choice or key."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing and options:
        group, _, choice = str(missing).rpartition("/")
        return f"{group}={choice} is no choice.{nearest(choice, options)} Choose one of {', '.join(options)}."
    sentence = " ".join(str(error).split("Config search path")[0].split())
    unknown = re.search(r"Could not override '([^']+)'", sentence) or re.search(r"Key '([^']+)' is not in", sentence)
    if unknown:
        keys = list(_all_keys(arguments))
        hint = nearest(unknown[1], keys)
        return (
            f"{unknown[1]}= is unknown.{hint} `anchor train --cfg job experiment=...` shows every key; "
            f"a key that is really new is written +{unknown[1]}=."
        )
    return sentence


def _known_names() -> list[str]:
    root = resources.files("anchor.conf")
    groups = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("_"))
    train = (root / "train.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"^(\w+):", train, re.MULTILINE)
    return [*groups, *(key for key in keys if key not in ("defaults", "hydra", *groups)), "hydra"]


def _all_keys(arguments: Sequence[str]) -> Iterator[str]:
    """The dotted keys of the configuration that the group choices of ``arguments`` compose into."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    groups = {entry.name for entry in resources.files("anchor.conf").iterdir() if entry.is_dir()}
    choices = [argument for argument in arguments if argument.partition("=")[0] in groups and "," not in argument]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("anchor.conf", version_base="1.3"):
            config: Any = OmegaConf.to_container(compose("train", choices), resolve=False)
    except Exception:  # the hint is a help, never a second error
        return
    yield from _flatten(config)


def _flatten(value: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, item in value.items():
        name = f"{place}.{key}" if place else str(key)
        yield name
        if isinstance(item, Mapping):
            yield from _flatten(item, name)
