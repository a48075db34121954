"""See that ``launch``, ``datamodules`` and ``lightning_modules`` are ours: their names are generic."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from anchor.errors import ConfigError

__all__ = ["check_packages"]

NAMES = ("launch", "datamodules", "lightning_modules")
MARK = '__distribution__ = "virtual-anchor"'


def check_packages() -> None:
    """Refuse to start where another folder's or distribution's package hides or has overwritten one of ours.

    Nothing of the packages is imported: a foreign one never runs.

    Raises:
        ConfigError: names the package, where the foreign one was found, and what to do.
    """
    home = Path(__file__).resolve().parent.parent
    for name in NAMES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        found = origin.parent.parent if origin else None
        if found != home:
            raise ConfigError(
                f"the package {name!r} comes from {found or 'nowhere'} and not from {home}, where anchor is. "
                "Start from another folder, or remove the other one from PYTHONPATH."
            )
        assert origin is not None
        if MARK not in origin.read_text(encoding="utf-8", errors="replace"):
            raise ConfigError(
                f"the package {name!r} in {home} is another distribution's, which was installed over anchor's. "
                "Give anchor an environment of its own, or install virtual-anchor again."
            )
