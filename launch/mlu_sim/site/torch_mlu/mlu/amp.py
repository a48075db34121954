"""``torch.mlu.amp``: older names of ``torch.amp.autocast("mlu")`` and ``torch.amp.GradScaler("mlu")``."""

from __future__ import annotations

from typing import Any

import torch


class autocast(torch.amp.autocast_mode.autocast):  # noqa: N801
    """``torch.autocast`` for a card."""

    def __init__(self, enabled: bool = True, dtype: torch.dtype = torch.float16, cache_enabled: bool = True) -> None:
        super().__init__("mlu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(torch.amp.GradScaler):
    """``torch.amp.GradScaler`` for a card."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__("mlu", *arguments, **options)


def get_amp_supported_dtype() -> list[torch.dtype]:
    """What autocast may compute in."""
    return [torch.float16, torch.bfloat16]
