"""Sets of shards: clips in tars that plain webdataset reads too, with checksums and a manifest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anchor.shards.folder import Folder, open_folder
    from anchor.shards.reader import ShardSet
    from anchor.shards.writer import ShardSetWriter, encode_clip

__all__ = ["Folder", "ShardSet", "ShardSetWriter", "encode_clip", "open_folder"]

_HOMES = {
    "Folder": "folder", "ShardSet": "reader", "ShardSetWriter": "writer", "encode_clip": "writer",
    "open_folder": "folder",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for: the commands of this package describe themselves without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
