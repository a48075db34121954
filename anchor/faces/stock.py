"""`anchor models list`: which face models this machine has, and whether they are whole."""

from __future__ import annotations

from pathlib import Path

from anchor.faces.folders import insightface_home, model_dirs
from anchor.faces.packs import PACKS, ModelPack, faults, is_intact, place_of

__all__ = ["list_models"]


def list_models(*, out: Path | None = None) -> None:
    """Print every model that Anchor knows or finds: present, absent, damaged or unlisted; its use and licence.

    Looks in out=DIR, $ANCHOR_MODELS, ~/.cache/anchor/models and ~/.insightface/models, and compares checksums.
    """
    dirs = [folder for folder in [*model_dirs(out), insightface_home()] if folder.is_dir()]
    rows = []
    for pack in PACKS.values():
        state, place = _state(pack, dirs)
        rows.append((pack.name, state, pack.gives, pack.licence, place))
    rows += [(name, "unlisted", "?", "not known to Anchor", str(path)) for name, path in _unlisted(dirs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("anchor models fetch name=NAME [accept_licence=true] brings one here.")


def _state(pack: ModelPack, dirs: list[Path]) -> tuple[str, str]:
    """The state of ``pack`` and where it lies, in the first folder that has it whole, else at all."""
    damaged: tuple[str, str] | None = None
    for folder in dirs:
        bad = faults(pack, folder)
        if not bad:
            return "present", str(place_of(pack, folder, pack.files[0]).parent if pack.archive else _only(pack, folder))
        if pack.archive is None and (twin := _twin(pack, folder)):
            return "present", str(twin)
        if damaged is None and _is_there(pack, folder):
            damaged = ("damaged", str(bad[0]) + ("" if bad[0].exists() else " is missing"))
    return damaged or ("absent", "-")


def _only(pack: ModelPack, folder: Path) -> Path:
    return place_of(pack, folder, pack.files[0])


def _is_there(pack: ModelPack, folder: Path) -> bool:
    return (folder / pack.name).is_dir() if pack.archive else _only(pack, folder).exists()


def _twin(pack: ModelPack, folder: Path) -> Path | None:
    """The one file of ``pack`` under another name."""
    only = pack.files[0]
    return next((path for path in sorted(folder.glob(f"*{Path(only.name).suffix}")) if is_intact(path, only)), None)


def _unlisted(dirs: list[Path]) -> list[tuple[str, Path]]:
    """Packs and models that somebody put there by hand."""
    found = []
    known = [pack.files[0] for pack in PACKS.values() if pack.archive is None]
    for folder in dirs:
        packs = {path.parent for path in folder.glob("*/*.onnx") if not path.parent.name.startswith(".")}
        found += [(pack.name, pack) for pack in sorted(packs) if pack.name not in PACKS]
        for path in sorted([*folder.glob("*.onnx"), *folder.glob("*.task")]):
            if path.name not in {file.name for file in known} and not any(is_intact(path, file) for file in known):
                found.append((path.stem, path))
    return found
