"""How much memory training takes, of its card or of its process."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

__all__ = ["show_memory"]

GIB = 2**30


def show_memory(device: torch.device) -> str:
    """``31.4/80 GiB`` of a card, whoever holds it, or the ``1.2 GiB`` that this process holds."""
    card = getattr(torch, device.type, None)  # torch.cuda, torch.mlu
    if device.type != "cpu" and card is not None and hasattr(card, "mem_get_info"):
        free, total = card.mem_get_info(device)
        return f"{(total - free) / GIB:.1f}/{total / GIB:.0f} GiB"
    return f"{_process_bytes() / GIB:.1f} GiB"


def _process_bytes() -> int:
    """Resident bytes of this process; its peak where the system does not tell the present."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
