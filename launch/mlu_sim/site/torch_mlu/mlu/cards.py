"""Cards: how many, which one is current, what they are."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from torch_mlu import _MLUC

CORES = 32  # of one card; a number to show


class MLUDeviceProperties(NamedTuple):
    """What a card says of itself."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    supports_linear_memory: bool


def get_device_index(device: Any = None, optional: bool = True) -> int:
    """The ordinal that ``device`` (a number, a string, a torch.device or None) means."""
    if device is None:
        if not optional:
            raise ValueError("Expected an mlu device with a specified index, but got None.")
        return _MLUC.current_device()
    if isinstance(device, int):
        return device
    device = torch.device(device)
    if device.type != "mlu":
        raise ValueError(f"Expected an mlu device, but got: {device}")
    return _MLUC.current_device() if device.index is None else device.index


def init() -> None:
    """Open the driver; a forked child of a process that did cannot."""
    _MLUC.open_driver()


def is_initialized() -> bool:
    """Whether this process has opened the driver."""
    return _MLUC.is_open() and not _MLUC.is_bad_fork()


def is_in_bad_fork() -> bool:
    """Whether this process was forked from one that had opened the driver."""
    return _MLUC.is_bad_fork()


def is_available() -> bool:
    """Whether a card is visible."""
    return _MLUC.device_count() > 0


def device_count() -> int:
    """Cards that are visible."""
    return _MLUC.device_count()


def set_device(device: Any) -> None:
    """Make ``device`` the current card; nothing for a negative number."""
    init()
    _MLUC.exchange_device(get_device_index(device))


def current_device() -> int:
    """The current card's ordinal."""
    init()
    return _MLUC.current_device()


def synchronize(device: Any = None) -> None:
    """Wait for the card; every operator has finished already."""
    init()
    get_device_properties(device)


def get_device_properties(device: Any = None) -> MLUDeviceProperties:
    """Name, capability and memory of a card."""
    init()
    index = get_device_index(device)
    if not 0 <= index < device_count():
        raise AssertionError("Invalid device id")
    name = os.environ.get("ANCHOR_MLU_SIM_NAME") or "MLU590-M9"
    major = 3 if "370" in name else 5  # what MLU370 and MLU590 are taken to answer
    return MLUDeviceProperties(name, major, 0, _MLUC.capacity(), CORES, True)


def get_device_name(device: Any = None) -> str:
    """The card's name."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Major and minor of the card."""
    properties = get_device_properties(device)
    return properties.major, properties.minor


def is_bf16_supported() -> bool:
    """Whether the card computes in bfloat16: from major 5 on."""
    return get_device_properties().major >= 5


def is_fp8_supported() -> bool:
    """No simulated card has it."""
    return False


def supports_linear_memory(device: Any = None) -> bool:
    """Whether the card addresses its memory as one piece."""
    return get_device_properties(device).supports_linear_memory


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether one card reads another's memory."""
    for one in (device, peer_device):
        get_device_properties(one)
    return True


class device:  # noqa: N801  # as torch_mlu spells it
    """A block on another card."""

    def __init__(self, device: Any) -> None:
        self.idx, self.prev_idx = get_device_index(device), -1

    def __enter__(self) -> None:
        self.prev_idx = _MLUC.exchange_device(self.idx)

    def __exit__(self, *error: object) -> None:
        _MLUC.exchange_device(self.prev_idx)


class device_of(device):  # noqa: N801
    """A block on the card of a tensor or storage; nothing for one of the CPU."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.device.type == "mlu" else -1)
