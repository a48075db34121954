"""What a report must say of the gates that its networks were taught past."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from anchor.models import read_held_out

__all__ = ["note_gates"]


def note_gates(paths: Iterable[Path | None]) -> list[str]:
    """One sentence for every gate that was passed by force on the way to these checkpoints."""
    held = [read_held_out(path) for path in paths if path is not None]
    return list(dict.fromkeys(sentence for one in held if one is not None for sentence in one.forced))
