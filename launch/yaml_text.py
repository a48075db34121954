"""YAML of other people: looked at before it is built, since a few lines may stand for more than all memory."""

from __future__ import annotations

from pathlib import Path

import yaml

from anchor.errors import ConfigError

__all__ = ["check_yaml", "check_yaml_folder"]

MAX_BYTES = 2**20  # of a file: the longest of ours has 6 kB
MAX_VALUES = 200_000  # that it stands for, with every alias written out
MAX_DEPTH = 100


def check_yaml(text: str, where: str) -> None:
    """See that ``text`` is YAML that stands for a bounded number of values; ``where`` names it.

    Raises:
        ConfigError: it is none, too long, too deep, or refers to itself.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{where}: {len(text)} characters, and a configuration has at most {MAX_BYTES}.")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{where}: no YAML ({words[0][:160]}).") from None
    if root is not None and _count(root, {}, 0) > MAX_VALUES:
        raise ConfigError(f"{where}: its aliases stand for more than {MAX_VALUES} values. Write it without them.")


def check_yaml_folder(folder: Path) -> None:
    """Check every YAML file in ``folder``, as `--config-dir` takes one.

    Raises:
        ConfigError: one cannot be taken; names it.
    """
    for path in sorted(folder.rglob("*.yaml")):
        if path.is_file():
            if path.stat().st_size > MAX_BYTES:
                raise ConfigError(f"{path}: {path.stat().st_size} bytes, and a configuration has at most {MAX_BYTES}.")
            check_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values ``node`` stands for; too many where it is nested too deeply or holds itself."""
    if depth > MAX_DEPTH or known.get(id(node)) == 0:
        return MAX_VALUES + 1
    if id(node) not in known:
        known[id(node)] = 0  # being counted
        items: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            items = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            items = list(node.value)
        known[id(node)] = 1 + sum(_count(item, known, depth + 1) for item in items)
    return known[id(node)]
