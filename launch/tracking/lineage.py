"""What a run was made of and what it left, named by content: shard manifest, expert, generator, person.

An artefact's name and digest depend on a hash alone. The run that leaves a checkpoint and the one that starts from it
need not know of each other, nor of a server: both name the same artefact, and the tracker joins them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Artefact", "checkpoint_artefact", "shards_artefact"]

BLOCK = 2**22  # bytes


@dataclass(frozen=True)
class Artefact:
    """A thing that runs make or use."""

    kind: str  # "model" or "dataset"
    stage: str  # the stage that left it, or "shards"
    sha256: str
    member: str  # the file's name, or what stands for it
    about: dict[str, Any] = field(default_factory=dict)  # path and more; no part of its identity

    @property
    def name(self) -> str:
        """Such as ``generator-0123456789ab``."""
        return f"{self.stage}-{self.sha256[:12]}"

    @property
    def reference(self) -> str:
        """An address that says what it is and not where."""
        return f"sha256://{self.sha256}"


def checkpoint_artefact(
    path: Path, stage: str, about: Mapping[str, Any] | None = None, sealed: str | None = None
) -> Artefact:
    """The artefact of a checkpoint, or of the checkpoint that an export at ``path`` was made of.

    A sealed one is named by ``sealed``, the hash in its seal: that takes no time, whatever its size.

    Raises:
        OSError: it cannot be read.
    """
    about = {"path": str(path.absolute()), **(about or {})}
    card = (path if path.is_dir() else path.parent) / "card.json"
    if path.is_dir() or path.suffix == ".safetensors":
        source = _source(card)
        if "sha256" in source:
            named_by = source.get("seal") or source["sha256"]
            return Artefact("model", stage, named_by, "checkpoint", {**about, "file": source.get("file")})
        path = path / "model.safetensors" if path.is_dir() else path
    return Artefact("model", stage, sealed or hash_file(path), "checkpoint", {**about, "bytes": path.stat().st_size})


def shards_artefact(identity: str, about: Mapping[str, Any]) -> Artefact:
    """The artefact of a set of shards by the ``identity`` of its manifest."""
    return Artefact("dataset", "shards", identity, "manifest.json", dict(about))


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _source(card: Path) -> dict[str, Any]:
    try:
        source = json.loads(card.read_text(encoding="utf-8")).get("source", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return source if isinstance(source, dict) and isinstance(source.get("sha256"), str) else {}
