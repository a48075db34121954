"""Whether the packages that anchor stands on are there, load, and are of versions that work."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

__all__ = ["Finding", "list_packages", "look_at_family", "look_at_package"]

# What pip installs, and what Python imports; whatever else our distribution asks for is imported under its own name.
MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "lightning": "lightning",
    "hydra-core": "hydra",
    "wandb": "wandb",
    "webdataset": "webdataset",
    "decord": "decord",
    "opencv-python": "cv2",
    "insightface": "insightface",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "av": "av",
    "espeakng-loader": "espeakng_loader",
    "safetensors": "safetensors",
    "pillow": "PIL",
}
BAD_VERSIONS = {
    ("lightning", "2.6.2"): "a compromised release",
    ("lightning", "2.6.3"): "a compromised release",
}
WHY = {"opencv-python": "5.0 dropped the Haar cascades"}
# Debian's names of the system libraries that opencv-python links to, and the line that installs them all.
APT_LINE = "apt-get install -y libgl1 libglib2.0-0 libxcb1"
TORCH_TO_VISION = 15  # torch 2.N goes with torchvision 0.(N+15) and torchaudio 2.N: 2.4 with 0.19, 2.11 with 0.26


class Finding(NamedTuple):
    """One line of the table."""

    subject: str
    state: str  # "ok", "absent" (optional), "weak" (works, but) or "missing" (needed)
    detail: str


def list_packages() -> list[str]:
    """The packages that anchor cannot do without, by the names that pip knows."""
    return list(dict.fromkeys([*MODULES, *_requirements()]))


def look_at_package(name: str) -> Finding:
    """Import the package that pip calls ``name``, and compare its version with what anchor asks for."""
    wanted = _requirements().get(name, "")
    install, module_name = f'pip install "{name}{wanted}"', MODULES.get(name, re.sub(r"[-.]", "_", name))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        lacks = "" if error.name in (None, module_name) else f"it lacks {error.name}; "
        return Finding(name, "missing", f"{lacks}{install}")
    except Exception as error:  # a broken binary raises what it likes
        return Finding(name, "missing", _explain(name, error, install))
    found = _version(name) or str(getattr(module, "__version__", "unknown"))
    if reason := BAD_VERSIONS.get((name, found)):
        return Finding(name, "missing", f"{found} is {reason}: {install}")
    if not _fits(found, wanted):
        why = f", for {WHY[name]}" if name in WHY else ""
        return Finding(name, "missing", f"{found} does not do{why}: {install}")
    return Finding(name, "ok", found)


def look_at_family() -> Finding | None:
    """Whether torch, torchvision and torchaudio are of one release and build; None where one is not installed."""
    versions = {name: _version(name) for name in ("torch", "torchvision", "torchaudio")}
    if None in versions.values():
        return None
    minors = {name: tuple(int(n) for n in re.findall(r"\d+", text or "")[:2]) for name, text in versions.items()}
    builds = {(text or "").partition("+")[2] for text in versions.values()}
    shown = ", ".join(f"{name} {text}" for name, text in versions.items())
    major, minor = minors["torch"]
    fix = (
        f'pip install "torch=={major}.{minor}.*" "torchvision==0.{minor + TORCH_TO_VISION}.*" '
        f'"torchaudio=={major}.{minor}.*"'
    )
    if minors["torchaudio"] != (major, minor) or minors["torchvision"] != (0, minor + TORCH_TO_VISION):
        return Finding("torch family", "weak", f"{shown} are not of one release: {fix}")
    if len(builds) > 1:
        return Finding("torch family", "weak", f"{shown} are of different builds; install all three from one place")
    return Finding("torch family", "ok", "of one release")


def _explain(name: str, error: Exception, install: str) -> str:
    words = " ".join(str(error).split())[:160]
    library = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open", words)
    if library:
        return f"{library[1]} of the system is missing: {APT_LINE}"
    if name in ("torchvision", "torchaudio"):
        return f"it does not load beside torch {_version('torch')} ({words}): install both of one release and build"
    return f"it does not load ({type(error).__name__}: {words}): {install} --force-reinstall"


def _requirements() -> dict[str, str]:
    """What our own distribution asks for here, such as ``{"lightning": ">=2.6.4,<2.7"}``; empty where none is known."""
    try:
        from packaging.requirements import Requirement

        asked = [Requirement(line) for line in requires("virtual-anchor") or []]
    except (ImportError, PackageNotFoundError):
        return {}
    return {
        one.name.lower(): ",".join(sorted(map(str, one.specifier), reverse=True))
        for one in asked
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def _fits(found: str, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    try:
        return SpecifierSet(wanted).contains(found.partition("+")[0], prereleases=True)
    except ValueError:
        return True  # a vendor's own numbering


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
