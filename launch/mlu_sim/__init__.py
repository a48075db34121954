"""A simulated Cambricon MLU for machines without one: ``ANCHOR_MLU_SIM=2 anchor train ... accelerator=mlu``.

``activate()`` makes a ``torch_mlu`` importable in this process and its children; ``site/torch_mlu`` says what it
simulates. Nothing here imports torch: the C++ part is compiled when ``torch_mlu`` is imported, once for each torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["SIMULATOR_SWITCH", "SimulatorError", "activate", "build", "is_wanted", "why_not"]

SIMULATOR_SWITCH = "ANCHOR_MLU_SIM"  # the number of simulated cards
SITE = Path(__file__).resolve().parent / "site"


class SimulatorError(RuntimeError):
    """The simulated card cannot be had here; the message says why and what to do."""


def is_wanted() -> bool:
    """Whether the environment asks for simulated cards."""
    return bool(os.environ.get(SIMULATOR_SWITCH))


def activate() -> bool:
    """Make the simulated ``torch_mlu`` importable here and in child processes, if the environment asks for it.

    Returns whether it did. Costs nothing to call again, and imports neither torch nor what it makes importable.

    Raises:
        SimulatorError: the number of cards is none, a real torch_mlu is installed, or nothing can compile C++.
    """
    if not is_wanted():
        return False
    if "torch_mlu" in sys.modules and not getattr(sys.modules["torch_mlu"], "is_simulated", False):
        raise SimulatorError(_refusal(str(sys.modules["torch_mlu"].__file__)))
    _check_count(os.environ[SIMULATOR_SWITCH])
    spec = importlib.util.find_spec("torch_mlu")
    found = Path(spec.origin).resolve() if spec and spec.origin else None
    if spec is not None and (found is None or SITE not in found.parents):
        raise SimulatorError(_refusal(str(found or spec.name)))
    if str(SITE) not in sys.path:
        sys.path.insert(0, str(SITE))
        importlib.invalidate_caches()
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(SITE) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), *filter(None, paths)])
    if reason := why_not():
        raise SimulatorError(reason)
    return True


def why_not() -> str | None:
    """Why the C++ part can be neither found nor compiled here, as one sentence; None where it can."""
    return _builder().why_not()


def build() -> Path:
    """Compile the C++ part for this torch now, unless it was before; its library.

    Raises:
        SimulatorError: it does not compile.
    """
    try:
        return _builder().build()
    except RuntimeError as error:
        raise SimulatorError(str(error)) from None


def _check_count(text: str) -> None:
    if not text.isdigit() or not 0 < int(text) <= 64:
        raise SimulatorError(f"{SIMULATOR_SWITCH}={text}: it is the number of simulated cards, 1 to 64.")


def _refusal(place: str) -> str:
    return (
        f"{SIMULATOR_SWITCH} asks for simulated cards, and a real torch_mlu is installed ({place}). "
        f"Unset {SIMULATOR_SWITCH} and use accelerator=mlu."
    )


def _builder() -> ModuleType:
    """The module ``torch_mlu._build``, loaded by its path: importing its package would import torch."""
    name = "_torch_mlu_build"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SITE / "torch_mlu" / "_build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
