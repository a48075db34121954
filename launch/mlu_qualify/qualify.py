"""Run all items and report."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.mlu_qualify.outcome import NetworkMaker, Outcome, QualificationError
from launch.mlu_qualify.process import make_context, run_item
from launch.mlu_qualify.report import count_states, format_row, write_report

__all__ = ["qualify"]

LOOK = (
    "import torch, torch_mlu;"
    "print(torch.mlu.device_count(), getattr(torch_mlu, 'is_simulated', False), torch_mlu.__version__)"
)
PACKAGES = ("torch_mlu", "torch", "torchvision", "torchaudio", "lightning")


def qualify(out: Path, networks: NetworkMaker | None = None, only: Sequence[str] = ()) -> list[Outcome]:
    """Run every item, print a line for each as it ends, and write the report into ``out``; the outcomes.

    networks: makes the networks by name, each with the inputs of one step; None is a small one.
    only: names of items, for a second look at some; none is all.

    Raises:
        QualificationError: there is no torch_mlu, or it sees no card.
    """
    if importlib.util.find_spec("torch_mlu") is None:
        raise QualificationError(
            "torch_mlu is not installed, so there is no MLU card to qualify. It comes with Cambricon's image; "
            "ANCHOR_MLU_SIM=2 runs the same items on simulated cards."
        )
    cards, is_simulated, versions = _look()
    if not cards:
        raise QualificationError(
            "torch_mlu sees no MLU card: see `cnmon`, and CN_VISIBLE_DEVICES and MLU_VISIBLE_DEVICES."
        )
    from launch.mlu_qualify.items import list_items

    items = [found for found in list_items() if not only or found.name in only]
    if unknown := sorted(set(only) - {found.name for found in items}):
        names = ", ".join(found.name for found in list_items())
        raise QualificationError(f"{', '.join(unknown)}: no such item. Items are {names}.")
    context = make_context()
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    width = max(len(found.name) for found in items)
    outcomes = []
    for found in items:
        outcome = run_item(found, context, cards, is_simulated, networks, logs)
        print(format_row(outcome, width), flush=True)
        outcomes.append(outcome)
    path = write_report(out, outcomes, items, versions, is_simulated)
    print(f"{count_states(outcomes)}{' (simulated)' if is_simulated else ''}: {path}")
    return outcomes


def _look() -> tuple[int, bool, dict[str, str]]:
    """Cards, whether they are simulated, and versions; found by a process of its own, for this one opens no card."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise QualificationError(f"torch_mlu cannot be imported with torch {_version('torch')}: {said[0]}")
    cards, simulated, version = done.stdout.split()
    versions = {name: _version(name) for name in PACKAGES}
    return int(cards), simulated == "True", {**versions, "torch_mlu": version, "python": platform.python_version()}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
