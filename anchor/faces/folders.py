"""Where face models lie on this machine. Nothing here opens one, and nothing downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["find_model", "find_pack", "insightface_home", "model_dirs", "show_dirs"]


def model_dirs(first: Path | None = None) -> list[Path]:
    """Where face models are looked for, in order: ``first``, ``$ANCHOR_MODELS``, ``~/.cache/anchor/models``."""
    named = os.environ.get("ANCHOR_MODELS")
    return [
        *([Path(first)] if first else []),
        *([Path(named).expanduser()] if named else []),
        Path("~/.cache/anchor/models").expanduser(),
    ]


def insightface_home() -> Path:
    """Where insightface itself keeps its packs."""
    return Path("~/.insightface/models").expanduser()


def find_pack(dirs: Sequence[Path], wanted: str = "det_*.onnx") -> Path | None:
    """The first folder that holds an SCRFD detector, as insightface's packs do, and a file like ``wanted``."""
    for folder in [*dirs, insightface_home()]:
        packs = {path.parent for path in folder.glob("*/det_*.onnx")} if folder.is_dir() else set()
        for pack in sorted(packs):
            # A hidden folder is a fetch under way, or one that was killed.
            if not pack.name.startswith(".") and any(pack.glob(wanted)):
                return pack
    return None


def find_model(dirs: Sequence[Path], pattern: str, first: str) -> Path | None:
    """The first file like ``pattern``; in one folder the one called ``first`` goes before others."""
    wanted: Callable[[Path], tuple[bool, str]] = lambda path: (path.name != first, path.name)  # noqa: E731
    for folder in dirs:
        found = sorted(folder.glob(pattern), key=wanted) if folder.is_dir() else []
        if found:
            return found[0]
    return None


def show_dirs(dirs: Sequence[Path]) -> str:
    """The folders as an error names them."""
    return " or ".join(map(str, dirs))
