"""Streams and events. They do not run beside each other here."""

from __future__ import annotations

from typing import Any

import torch

from torch_mlu import _MLUC
from torch_mlu.mlu.cards import get_device_index, init


class Stream(torch.Stream):
    """A queue of work of one card."""

    def __new__(cls, device: Any = None, priority: int = 0, **packed: Any) -> Stream:
        """A new stream of ``device``, or the one that ``stream_id``, ``device_index`` and ``device_type`` name."""
        init()
        if packed:
            return super().__new__(cls, priority=priority, **packed)
        return super().__new__(cls, device=torch.device("mlu", get_device_index(device)), priority=priority)


def Event(enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> torch.Event:  # noqa: N802
    """A moment on a stream of a card; torch's own class, for its methods take no other. Not between processes."""
    if interprocess:
        raise RuntimeError("events between processes are not simulated.")
    return torch.Event(device="mlu", enable_timing=enable_timing, blocking=blocking)


def _stream(index: int, stream_id: int) -> Stream:
    kind = torch.Stream(device="mlu").device_type
    return Stream(stream_id=stream_id, device_index=index, device_type=kind)


def current_stream(device: Any = None) -> Stream:
    """The stream that work of ``device`` goes to now."""
    index = get_device_index(device)
    return _stream(index, _MLUC.current_stream_id(index))


def default_stream(device: Any = None) -> Stream:
    """The stream that every card begins with."""
    return _stream(get_device_index(device), 0)


def set_stream(stream: Any) -> None:
    """Send work of the stream's card to it; nothing for None."""
    if stream is not None:
        _MLUC.set_stream_id(stream.device_index, stream.stream_id)


class StreamContext:
    """A block whose work goes to ``stream``; nothing for None."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.before = current_stream(self.stream.device)
            set_stream(self.stream)

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            set_stream(self.before)


def stream(stream: Any) -> StreamContext:
    """A block whose work goes to ``stream``."""
    return StreamContext(stream)
