"""A simulated Cambricon MLU behind the names of torch_mlu r2.4. It is no card: it shows plumbing, not numbers or speed.

What is simulated:
- the device ``mlu``, ``torch.mlu`` and ``torch_mlu.mlu``; every operator computes what the CPU's kernel computes, on
  memory that belongs to one card; tensors of two cards, or of a card and the CPU, do not mix;
- ``ANCHOR_MLU_SIM`` cards, of which ``CN_VISIBLE_DEVICES``, else ``MLU_VISIBLE_DEVICES``, else
  ``CUDA_VISIBLE_DEVICES`` leave some visible; ``ANCHOR_MLU_SIM_MEMORY_GB`` each (48), beyond which a card is out of
  memory with the words of a real one; ``ANCHOR_MLU_SIM_NAME`` (MLU590-M9; MLU370-X8 has no bf16);
- 64-bit tensors have 32-bit values on a card: float64 is rounded to float32 and int64 cut to its low 32 bits on each
  copy to the card and after each operator, while the dtype stays;
- autocast with torch's lists, and binary_cross_entropy banned; GradScaler; the operators of nn.SyncBatchNorm;
- a random stream per card, which is not the CPU's stream of the same seed; states are saved and restored;
- the process group ``cncl`` (gloo beneath), to be named ``cpu:gloo,mlu:cncl``; no bitwise reductions, no AVG of bool;
- a forked child of a process that used a card cannot use one; pinned memory; memory statistics; profiler events.

What is not: speed, numbers of CNNL's kernels (bf16 and fp16 round as the CPU does), sums inside one operator in 32
bits, streams that run beside each other (a missing synchronisation goes unseen), a caching allocator (reserved equals
allocated), CNCL's transports and its watchdog, MLUGraph, cnpx, sensors, fp8. Which operators a real card lacks is not
known here either: ``torch_mlu.simulation`` counts the operators that are called.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType

import torch

from torch_mlu._build import MODULE, build

__version__ = "1.24.1+sim"
is_simulated = True

CARDS = int(os.environ.get("ANCHOR_MLU_SIM") or 1)
MEMORY_GB = float(os.environ.get("ANCHOR_MLU_SIM_MEMORY_GB") or 48)


def _load() -> ModuleType:
    name, path = f"{__name__}.{MODULE}", str(build())
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[name] = module
    return module


_MLUC = _load()

from torch_mlu import visible  # noqa: E402

_MLUC.initialise(cards=len(visible.visible_cards(CARDS)), capacity=int(MEMORY_GB * 2**30))
torch.utils.rename_privateuse1_backend("mlu")

from torch_mlu import mlu  # noqa: E402
from torch_mlu.mlu import cncl  # noqa: E402

torch._register_device_module("mlu", mlu)
sys.modules["torch.mlu"] = mlu
torch.utils.generate_methods_for_privateuse1_backend(for_tensor=True, for_module=True, for_storage=True)
cncl.register()
