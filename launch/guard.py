"""See that ``launch``, ``datamodules`` and ``lightning_modules`` are ours: their names are generic."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from anchor.errors import ConfigError

__all__ = ["check_packages"]


def check_packages() -> None:
    """Refuse to start where another folder's or distribution's package hides one of ours.

    Raises:
        ConfigError: names the package and where the foreign one was found.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("launch", "datamodules", "lightning_modules"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != home:
            raise ConfigError(
                f"the package {name!r} comes from {found or 'nowhere'} and not from {home}, where anchor is. "
                "Start from another folder, or remove the other one from PYTHONPATH."
            )
