"""`anchor check mlu`: what there is of Cambricon's cards; with `--qualify`, whether they train."""

from __future__ import annotations

import os
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from launch.check import print_findings
from launch.packages import Finding

__all__ = ["check_mlu"]


def check_mlu(*, qualify: bool = False, out: Path = Path("runs/mlu-qualification"), model: str | None = None) -> None:
    """Print what is known of the MLU cards here; with --qualify, try all that training needs of them.

    Each item of the qualification runs in processes of its own, and `out` gets report.md and report.json. It takes
    minutes, and cards that nobody else uses. ANCHOR_MLU_SIM=2 runs it on two simulated cards.
    model: whose networks are run; none is wav2lip96 on a card and tiny on a simulated one.

    Raises:
        DeviceError: there is no card, or an item failed.
    """
    from anchor.errors import DeviceError

    if not qualify:
        print_findings([_library(), _cards(), _monitor()])
        return
    from launch.mlu_qualify import QualificationError
    from launch.mlu_qualify import qualify as run_items
    from launch.sizes import check_preset
    from launch.stage_networks import stage_networks

    model = model or ("tiny" if os.environ.get("ANCHOR_MLU_SIM") else "wav2lip96")
    check_preset(model)
    try:
        outcomes = run_items(out, partial(stage_networks, model))
    except QualificationError as error:
        raise DeviceError(str(error)) from error
    failed = [outcome.item for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise DeviceError(f"{', '.join(failed)}: failed; {out / 'report.md'} says how, {out / 'logs'} has their words.")


def _library() -> Finding:
    spec = find_spec("torch_mlu")
    if spec is None:
        return Finding("torch_mlu", "absent", "not installed; it comes with Cambricon's image, see docs/mlu.md")
    from launch.mlu import MLUError, library

    try:
        found = library.load()
    except MLUError as error:
        return Finding("torch_mlu", "missing", str(error))
    import torch

    simulated = ", simulated" if getattr(found, "is_simulated", False) else ""
    return Finding(
        "torch_mlu", "ok", f"{getattr(found, '__version__', 'unknown')}{simulated}, torch {torch.__version__}"
    )


def _cards() -> Finding:
    from launch.mlu import MLUError, library

    try:
        count = library.cards()
    except MLUError as error:
        return Finding("cards", "missing", str(error))
    if not count:
        hidden = library.hiding_variable()
        return Finding("cards", "absent", f"none{f', with {hidden}' if hidden else ''}")
    bfloat16 = "bf16" if library.has_bfloat16() else "no bf16: 16-mixed or 32-true"
    return Finding(
        "cards", "ok", f"{count} x {library.card_name()}, {bfloat16}; `anchor check mlu --qualify` tries them"
    )


def _monitor() -> Finding:
    found = shutil.which("cnmon")
    return Finding("cnmon", "ok" if found else "absent", found or "not on the PATH; the driver's package has it")
