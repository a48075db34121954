"""`anchor check`: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.packages import Finding, list_packages, look_at_family, look_at_package

__all__ = ["check", "print_findings"]

MIN_PYTHON = (3, 10)
# Two checkpoints of wav2lip96 with AdamW's two moments are 2 x 3 x 145 MB; the rest is for shards and reports.
MIN_FREE_GB = 2.0
MIN_MEMORY_GB = 2.0  # a process that trained a generator of 5 M parameters on drawn speakers held 0.75 GB


def check(*, model: str | None = None) -> None:
    """Print one table: packages, cards, face models, media libraries, speech, room; each gap with its fix.

    model: print the sizes of this preset's networks instead: parameters, GFLOP, bytes on disk.

    Raises:
        ConfigError: something that every command needs is missing, or there is no such preset.
    """
    from anchor.errors import ConfigError

    if model is not None:
        from launch.sizes import print_sizes

        hydra = look_at_package("hydra-core")
        if hydra.state == "missing":
            raise ConfigError(f"the presets are Hydra's to read, and it is missing: {hydra.detail}")
        print_sizes(model)
        return
    findings = [_python(), *(look_at_package(name) for name in list_packages())]
    family = look_at_family()
    findings += [
        *([family] if family else []),
        _try("cards", _cards),
        _try("face models", _faces),
        _try("video encoder", _encoder),
        _try("speech", _speech),
        _folder("cache", Path("~/.cache/anchor").expanduser(), "give face models with ANCHOR_MODELS=DIR"),
        _folder("runs", Path("runs").absolute(), "start elsewhere, or give run_dir="),
        _try("memory", _memory),
    ]
    print_findings(findings)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the table.

    Raises:
        ConfigError: something is missing.
    """
    from anchor.errors import ConfigError

    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.subject:<{width}}  {finding.state:<8}{finding.detail}", flush=True)
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: missing or unfit, and the table says what mends each. "
            "`make setup` in a clone installs every package that anchor needs."
        )


def _python() -> Finding:
    shown = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info < MIN_PYTHON:
        return Finding("python", "missing", f"{shown}: anchor needs 3.10 or later")
    return Finding("python", "ok", shown)


def _try(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except ImportError as error:  # the package's own line says how to mend it
        return Finding(subject, "missing", f"cannot be looked at without {error.name or error}")
    except Exception as error:  # whatever a broken library raises belongs into the table
        return Finding(subject, "missing", f"{type(error).__name__}: {error}")


def _cards() -> Finding:
    import torch

    from anchor.device import resolve_device

    device = resolve_device("auto")
    if device.type == "cpu":
        return Finding("cards", "absent", "no MLU, no CUDA card; device=auto is cpu")
    kind = getattr(torch, device.type)
    cards = ", ".join(kind.get_device_name(index) for index in range(kind.device_count()))
    return Finding("cards", "ok", f"{cards}; device=auto is {device}")


def _faces() -> Finding:
    from anchor.faces import available_detectors

    names = available_detectors()
    if not names:
        return Finding("face models", "missing", "no detector at all: `anchor models fetch`, or ANCHOR_MODELS=DIR")
    hint = "" if len(names) > 1 else "; `anchor models fetch` or ANCHOR_MODELS=DIR adds better ones"
    return Finding("face models", "ok", f"{', '.join(names)}{hint}")


def _encoder() -> Finding:
    import av

    missing = [name for name in ("libx264", "aac", "flac") if name not in av.codecs_available]
    if missing:
        fix = "pip install --force-reinstall av"
        return Finding("video encoder", "missing", f"PyAV {av.__version__} lacks {', '.join(missing)}: {fix}")
    return Finding("video encoder", "ok", f"PyAV {av.__version__} with libx264, aac, flac")


def _speech() -> Finding:
    from anchor.speech.espeak import speak

    spoken = speak("one", "en-us")
    return Finding("speech", "ok", f"espeak-ng, {len(spoken.samples) / spoken.sample_rate:.2f} s for a word")


def _folder(subject: str, path: Path, fix: str) -> Finding:
    """Whether ``path`` can be made and written, and the room there."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(subject, "weak", f"{path} cannot be written: {fix}")
    free_gb = shutil.disk_usage(there).free / 1e9
    if free_gb < MIN_FREE_GB:
        return Finding(subject, "weak", f"{path}: {free_gb:.1f} GB free, and a run may need {MIN_FREE_GB:.0f}: {fix}")
    return Finding(subject, "ok", f"{path}, {free_gb:.0f} GB free")


def _memory() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    shown = f"{cores} cores" + (f", OMP_NUM_THREADS={threads}" if threads else "")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free_gb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1e6
    except (OSError, StopIteration):
        return Finding("memory", "ok", shown)
    if free_gb < MIN_MEMORY_GB:
        return Finding("memory", "weak", f"{free_gb:.1f} GB free, and training takes {MIN_MEMORY_GB:.0f}; {shown}")
    return Finding("memory", "ok", f"{free_gb:.1f} GB free, {shown}")
