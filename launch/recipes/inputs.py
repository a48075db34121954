"""What the user gives to a recipe: read from ``key=value``, and looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchor.arguments import convert, nearest, user_path
from anchor.errors import ConfigError, MediaError
from launch.recipes.recipe import Recipe

__all__ = ["describe_inputs", "paths_of", "read_inputs"]

NUMBERS = {"number": float, "count": int, "switch": bool}
PATHS = ("video", "sound", "source", "generator", "expert")


def read_inputs(recipe: Recipe, words: Sequence[str]) -> dict[str, str]:
    """Give ``words`` to ``recipe``; returns those of ``gates.X``. ``train.KEY=VALUE`` goes to every training.

    Raises:
        ConfigError: a word that is no input, one that is missing, or a value that cannot be.
        AnchorError: a file that is not there or not what it should be.
    """
    given: dict[str, str] = {}
    gates: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not an argument. Write key=value; keys are {', '.join(recipe.inputs)}.")
        if "${" in text:
            raise ConfigError(f"{word}: ${{...}} is for recipes. Write the value itself.")
        if key.startswith("train."):
            recipe.more.append(word.removeprefix("train."))
        elif key.startswith("gates."):
            gates[key] = text
            recipe.more.append(word)
        elif key not in recipe.inputs:
            keys = [*recipe.inputs, "gates.NAME", "train.KEY"]
            raise ConfigError(f"{key}= is unknown.{nearest(key, keys)} Keys are {', '.join(keys)}.")
        elif key in given:
            raise ConfigError(f"{key}= is given twice. Keep one of them.")
        else:
            given[key] = text
    missing = [key for key, spec in recipe.inputs.items() if spec.get("required") and not given.get(key)]
    if missing:
        raise ConfigError(
            f"{', '.join(f'{key}=' for key in missing)} is required. See `anchor run recipe={recipe.name} --help`."
        )
    for key, spec in recipe.inputs.items():
        recipe.values[key] = _read(key, spec, given[key]) if key in given else spec.get("default")
    for key, spec in recipe.inputs.items():
        if spec["kind"] in PATHS and recipe.values[key] is not None:
            _look(key, spec["kind"], Path(recipe.values[key]))
    return gates


def paths_of(recipe: Recipe) -> list[Path]:
    """The files and folders that were given."""
    kinds = {key: spec["kind"] for key, spec in recipe.inputs.items()}
    return [Path(value) for key, value in recipe.values.items() if kinds[key] in PATHS and value is not None]


def describe_inputs(recipe: Recipe) -> str:
    """The text of ``anchor run recipe=NAME --help``."""
    lines = [f"usage: anchor run recipe={recipe.name} key=value ...", "", recipe.about.strip(), "", "keys:"]
    for key, spec in recipe.inputs.items():
        default = "required" if spec.get("required") else f"default {spec.get('default')}"
        lines.append(f"  {f'{key}=':<16}{spec['what']} ({default})")
    lines.append("  gates.X.Y.least= a threshold of conf/gates/on.yaml")
    lines.append("  train.KEY=       KEY= for every training, such as train.logger=wandb")
    lines += ["", "steps:"]
    for step in recipe.spec["steps"]:
        conditions = [f"{word} {step[word]}=" for word in ("when", "unless") if step.get(word)]
        lines.append(f"  {step['name']:<16}{step['title']}{' (' + ', '.join(conditions) + ')' if conditions else ''}")
    return "\n".join(lines)


def _read(key: str, spec: Mapping[str, Any], text: str) -> Any:
    if text.lower() in ("", "null", "none"):
        return spec.get("default") if spec.get("default") is not None and not spec.get("may_be_null") else None
    if spec["kind"] in NUMBERS:
        value = convert(key, text, NUMBERS[spec["kind"]])
        if not isinstance(value, bool) and not spec.get("least", 0) <= value < 1e9:
            raise ConfigError(f"{key}={text} cannot be. Give a number from {spec.get('least', 0)} on.")
        return value
    return str(user_path(key, text)) if spec["kind"] in (*PATHS, "folder") else text


def _look(key: str, kind: str, path: Path) -> None:
    """See that the file can be used, as far as seconds tell."""
    if not path.exists():
        raise ConfigError(f"{key}={path}: no such {'file or folder' if kind == 'source' else 'file'}.")
    if kind in ("generator", "expert"):
        from anchor.models import load_network

        load_network(path, kind)
    elif path.is_dir() and kind != "source":
        raise ConfigError(f"{key}={path} is a folder, and one file is needed.")
    elif kind == "video":
        from anchor.media import probe

        probe(path)
    elif kind == "sound":
        from anchor.media import read_audio

        if not len(read_audio(path)):
            raise MediaError(f"{key}={path}: there is no sound in it.")
