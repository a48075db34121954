"""`anchor check`: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

__all__ = ["check"]

PACKAGES = (
    "torch", "torchvision", "torchaudio", "lightning", "hydra-core", "wandb", "webdataset", "decord", "insightface",
    "opencv-python", "av", "espeakng-loader",
)  # fmt: skip


class Finding(NamedTuple):
    """One line of the table."""

    subject: str
    state: str  # "ok", "absent" (optional) or "missing" (needed)
    detail: str


def check() -> None:
    """Print one table: cards, versions, face models, media libraries, speech; name what is missing and the fix.

    Raises:
        ConfigError: something that every command needs is missing.
    """
    from anchor.errors import ConfigError

    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    findings += [_package(name) for name in PACKAGES]
    findings += [
        _try("cards", _cards),
        _try("face models", _faces),
        _try("video encoder", _encoder),
        _try("speech", _speech),
    ]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.subject:<{width}}  {finding.state:<8}{finding.detail}")
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    if missing:
        raise ConfigError(f"{', '.join(missing)} missing: `make setup` in a clone installs what anchor needs.")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", f"pip install {name}")


def _try(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # whatever a broken library raises belongs into the table
        return Finding(subject, "missing", f"{type(error).__name__}: {error}")


def _cards() -> Finding:
    import torch

    from anchor.device import resolve_device

    device = resolve_device("auto")
    count = torch.cuda.device_count()
    cards = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "no MLU, no CUDA card"
    return Finding(
        "cards", "ok" if device.type != "cpu" else "absent", f"{cards}; device=auto is {device}, {os.cpu_count()} cores"
    )


def _faces() -> Finding:
    from anchor.faces import available_detectors

    names = available_detectors()
    hint = "" if len(names) > 1 else "; ANCHOR_MODELS=DIR adds YuNet or an insightface pack"
    return Finding("face models", "ok", f"{', '.join(names)}{hint}")


def _encoder() -> Finding:
    import av

    missing = [name for name in ("libx264", "aac", "flac") if name not in av.codecs_available]
    state = "missing" if missing else "ok"
    return Finding(
        "video encoder",
        state,
        f"PyAV {av.__version__}" + (f" lacks {', '.join(missing)}" if missing else " with libx264, aac, flac"),
    )


def _speech() -> Finding:
    from anchor.speech.espeak import speak

    spoken = speak("one", "en-us")
    return Finding("speech", "ok", f"espeak-ng, {len(spoken.samples) / spoken.sample_rate:.2f} s for a word")
