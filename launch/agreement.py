"""That all ranks run one thing: the same configuration, the same code, the same versions, in the same folder."""

from __future__ import annotations

import hashlib
import json
import platform
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError

__all__ = ["Card", "DisagreementError", "compare_ranks", "describe_difference", "hash_code", "make_card"]

PACKAGES = ("anchor", "datamodules", "launch", "lightning_modules")
VERSIONS = ("torch", "lightning")


class DisagreementError(ConfigError):
    """One rank or node runs something else than the first; every rank raises it with the same sentence."""


@dataclass(frozen=True)
class Card:
    """What a rank or a node runs."""

    host: str
    config: str  # SHA-256 of config.yaml
    code: str  # SHA-256 over our packages' sources
    versions: Mapping[str, str] = field(default_factory=dict)

    def agrees_with(self, other: Card) -> bool:
        """Whether both run one thing, on whatever host."""
        return (self.config, self.code, self.versions) == (other.config, other.code, other.versions)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> Card:
        """What ``to_json`` wrote."""
        return Card(**json.loads(text))


def make_card(config: str) -> Card:
    """The card of this process for a run of the configuration ``config`` (the text of its file)."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), **{name: _version(name) for name in VERSIONS}}
    return Card(socket.gethostname(), hashlib.sha256(config.encode()).hexdigest(), hash_code(), versions)


def hash_code(root: Path | None = None) -> str:
    """SHA-256 over the names and contents of our packages' sources, those of ``root`` or of this installation."""
    root = root or Path(__file__).resolve().parent.parent
    whole = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def describe_difference(first: Card, other: Card, first_config: str, other_config: str) -> str | None:
    """What ``other`` runs that ``first`` does not, as the rest of a sentence; None where they agree."""
    differing = [
        f"{name} {other.versions.get(name)} instead of {first.versions.get(name)}"
        for name in sorted({*first.versions, *other.versions})
        if first.versions.get(name) != other.versions.get(name)
    ]
    if differing:
        return f"has {', '.join(differing)}. Install the same versions everywhere"
    if other.code != first.code:
        return "has other sources of anchor. Install the same version, with the same edits, everywhere"
    if other.config != first.config:
        keys = _differing_keys(first_config, other_config)
        return f"composed another configuration: {keys}. Give every node the same command and the same files"
    return None


def compare_ranks(store: Any, rank: int, world_size: int, config: str, timeout_s: float = 300.0) -> None:
    """See through ``store``, a key-value store of torch.distributed, that every rank carries rank 0's card.

    Each rank reads rank 0's card and one word at the end, whatever the number of ranks.

    Raises:
        DisagreementError: one does not; on every rank, with the same sentence.
    """
    mine = make_card(config)
    wait = timedelta(seconds=timeout_s)
    if rank == 0:
        store.set("agreement/config", config)
        store.set("agreement/card", mine.to_json())
    store.wait(["agreement/card"], wait)
    first = Card.from_json(store.get("agreement/card"))
    if not first.agrees_with(mine):
        what = describe_difference(first, mine, store.get("agreement/config").decode(), config)
        store.set("agreement/finding", f"rank {rank} on {mine.host} {what}.")
        store.add("agreement/differing", 1)
    if store.add("agreement/arrived", 1) == world_size:
        differing = store.add("agreement/differing", 0)
        finding = store.get("agreement/finding").decode() if differing else ""
        more = f" ({differing} ranks differ from rank 0 on {first.host}.)" if differing > 1 else ""
        store.set("agreement/verdict", finding + more)
    store.wait(["agreement/verdict"], wait)
    if verdict := store.get("agreement/verdict").decode():
        raise DisagreementError(verdict)


def _differing_keys(first: str, other: str, limit: int = 4) -> str:
    from omegaconf import OmegaConf

    values: list[dict[str, Any]] = []
    for text in (first, other):
        flat: dict[str, Any] = {}
        _flatten(OmegaConf.to_container(OmegaConf.create(text), resolve=False), "", flat)
        values.append(flat)
    here, there = values
    keys = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    shown = ", ".join(f"{key} is {there.get(key)!r} instead of {here.get(key)!r}" for key in keys[:limit])
    return f"{shown}, and {len(keys) - limit} keys more" if len(keys) > limit else shown or "the order of its keys"


def _flatten(value: Any, place: str, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(item, f"{place}.{key}" if place else str(key), into)
    else:
        into[place] = value


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
