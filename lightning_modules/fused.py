"""The optimizer's step as one kernel, where that was measured to pay."""

from __future__ import annotations

import inspect
from typing import Any

from torch.optim import Optimizer

__all__ = ["fuse"]


def fuse(optimizer: Optimizer) -> None:
    """Let ``optimizer`` step by PyTorch's fused kernel if all it steps lies on a CPU, unless it was built otherwise.

    On one core AdamW takes half the time by it (``docs/cost.md``); on cards PyTorch's own choice stands. The flag is
    set here and not given to the constructor, for Lightning refuses to clip what was built ``fused=True``, which it
    takes to undo a loss scale by itself. A state that was saved on another device does not carry its flag over.
    """
    groups = optimizer.param_groups
    if "fused" not in inspect.signature(type(optimizer).__init__).parameters:
        return
    choices = [
        True if group.get("fused") is None and all(p.device.type == "cpu" for p in group["params"]) else group["fused"]
        for group in groups
    ]

    def apply(*_: Any) -> None:
        for group, choice in zip(optimizer.param_groups, choices, strict=True):
            group["fused"] = choice

    apply()
    optimizer.register_load_state_dict_post_hook(apply)
