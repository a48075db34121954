"""The process that draws: all sessions' mouths in common batches, away from the clock that must not wait.

Shape suffixes: N pictures, S side of the crops in pixels, C colour (RGB), h = S // 2, M mel bins, S mel steps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor, nn

from anchor.device import resolve_device
from anchor.models import stack_faces
from anchor.models.folding import fold_norms
from anchor.ops.images import to_bytes, to_signed
from anchor.ops.references import lay_references
from anchor.serving.batching import BUCKETS, Request, next_batch

__all__ = ["HERE", "Drawn", "Face", "Load", "draw_mouths", "serve_drawing"]

HERE = "here"  # the first message of a process that has imported all it needs

IDLE_S = 1.0  # between two looks whether the parent still lives
SMOOTHING = 0.2  # of the running mean of what a batch costs
FORGET = 0.9  # of a cost that lets no picture be drawn in time, for each that it kept from being drawn
GATHER_S, LEISURE_S = 0.004, 0.1  # so long is waited for another mouth, while the first has so long until its tick
RUNS = 3  # of a batch when it is measured, the quickest of which counts: others only disturb


@dataclass(frozen=True)
class Face:
    """What the drawing process holds of an avatar."""

    network: nn.Module  # a generator in eval mode, on the CPU
    crops_NSSC: np.ndarray  # uint8, the face of every frame
    references_NR: np.ndarray  # for each frame, the frames whose faces are its references


@dataclass(frozen=True)
class Drawn:
    """A drawn lower half, or the news that it would have come too late."""

    session: int
    avatar: str  # that was asked for: a session may have changed it
    epoch: int
    tick: int
    mouth_hSC: np.ndarray | None  # uint8 RGB; None: too late
    batch_size: int
    seconds: float  # of drawing, for the whole batch


Load = Callable[[str], Face]


class _Loaded:
    """An avatar on the device, in the precision that it draws in."""

    def __init__(self, face: Face, device: torch.device, dtype: torch.dtype) -> None:
        self.crops_NSSC, self.references_NR = face.crops_NSSC, face.references_NR
        self.device, self.dtype = device, dtype
        self.cost_s = dict.fromkeys(BUCKETS, 0.0)
        network = fold_norms(face.network).to(device, dtype)  # folded in float32, then rounded
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def draw(self, frames: Sequence[int], mels_NMS: np.ndarray, size: int) -> np.ndarray:
        """uint8 (N, h, S, C): the lower halves, drawn in a batch of ``size``."""
        count = len(frames)
        if self.device.type == "cpu":  # which draws any number alike: nothing is filled up
            size = count
        picked = [*frames, *[frames[-1]] * (size - count)]
        crops = self._signed(self.crops_NSSC[picked])
        references = self._signed(lay_references(self.crops_NSSC, self.references_NR[picked]))
        mels = np.concatenate([mels_NMS, np.repeat(mels_NMS[-1:], size - count, 0)])[:, None]
        mels_N1MS = torch.from_numpy(mels).to(self.device, self.dtype)
        mouths_N3hW = self.network(stack_faces(crops, references).to(self.dtype), mels_N1MS)
        return to_bytes(mouths_N3hW[:count]).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _signed(self, pictures_NHWC: np.ndarray) -> Tensor:
        return to_signed(torch.from_numpy(pictures_NHWC).to(self.device).permute(0, 3, 1, 2))


def draw_mouths(
    face: Face, frames: Sequence[int], mels_NMS: np.ndarray, device: str = "cpu", precision: str = "float32"
) -> np.ndarray:
    """uint8 (N, h, S, C): what the process would draw; for tests and benchmarks of one batch."""
    loaded = _Loaded(face, torch.device(device), getattr(torch, precision))
    return loaded.draw(frames, mels_NMS, len(frames))


def serve_drawing(connection: Connection, load: Load, device: str, precision: str, threads: int, parent: int) -> None:
    """The process's whole life: ``("avatar", name, path, costs)``, ``("forget", name)`` and ``Request`` come in.

    ``costs`` are seconds of a batch by size, or None to have them measured. Answers are ``("ready", name, costs)``,
    ``("failed", name, sentence)`` and, for every request, :class:`Drawn`. An avatar that cannot be loaded leaves an
    earlier one of that name as it is. The process ends when the pipe is closed or its parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches us too: the parent says when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    where = resolve_device(device)  # imports what a card needs; nothing is put on it before an avatar comes
    connection.send(HERE)
    worker = _Worker(connection, load, where, getattr(torch, precision))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        worker.run()


class _Worker:
    def __init__(self, connection: Connection, load: Load, device: torch.device, dtype: torch.dtype) -> None:
        self.connection, self.load, self.device, self.dtype = connection, load, device, dtype
        self.avatars: dict[str, _Loaded] = {}
        self.waiting: list[Request] = []

    def run(self) -> None:
        while True:
            while self.connection.poll(None if not self.waiting else self._patience()):
                self._take(self.connection.recv())
            now = time.monotonic()
            batch, size, late = next_batch(self.waiting, now, self._cost_s)
            for request in late:
                self._answer(request, None, 0, 0.0)
            for avatar in {request.avatar for request in late if request.deadline > now} & set(self.avatars):
                self.avatars[avatar].cost_s[1] *= FORGET  # what was slow once is tried again
            if batch:
                self._draw(batch, size)

    def _patience(self) -> float:
        """Seconds to wait for more mouths: all sessions ask at the same tick, and one batch is cheaper than two."""
        has_time = min(one.deadline for one in self.waiting) - time.monotonic() > LEISURE_S
        return GATHER_S if has_time and len(self.waiting) < BUCKETS[-1] else 0.0

    def _cost_s(self, avatar: str, size: int) -> float:
        return self.avatars[avatar].cost_s[size] if avatar in self.avatars else 0.0

    def _take(self, message: object) -> None:
        if isinstance(message, Request):
            self.waiting.append(message)
            return
        assert isinstance(message, tuple)
        kind, name, *rest = message
        if kind == "forget":
            self.avatars.pop(name, None)
            return
        path, costs = rest
        try:
            avatar = _Loaded(self.load(path), self.device, self.dtype)
            known = self._warm(avatar, costs)
        except Exception as error:
            self.connection.send(("failed", name, str(error) or type(error).__name__))
        else:
            self.avatars[name] = avatar
            self.connection.send(("ready", name, known))

    def _warm(self, avatar: _Loaded, costs: dict[int, float] | None) -> dict[int, float]:
        """Seconds of a batch of each size: the first ones pay for what a device prepares."""
        if costs is not None:  # a successor is wanted at once
            avatar.draw([0], np.zeros((1, 80, 16), np.float32), 1)
            avatar.cost_s.update(costs)
            return costs
        for size in BUCKETS:
            mels = np.zeros((size, 80, 16), np.float32)
            avatar.draw([0] * size, mels, size)
            seconds = []
            for _ in range(RUNS):
                began = time.monotonic()
                avatar.draw([0] * size, mels, size)
                seconds.append(time.monotonic() - began)
            avatar.cost_s[size] = min(seconds)
        return dict(avatar.cost_s)

    def _draw(self, batch: list[Request], size: int) -> None:
        avatar = self.avatars.get(batch[0].avatar)
        if avatar is None:  # forgotten, or not loaded yet
            for request in batch:
                self._answer(request, None, 0, 0.0)
            return
        began = time.monotonic()
        mouths_NhSC = avatar.draw([request.frame for request in batch], np.stack([one.mel_MS for one in batch]), size)
        seconds = time.monotonic() - began
        avatar.cost_s[size] += SMOOTHING * (seconds - avatar.cost_s[size])
        for request, mouth_hSC in zip(batch, mouths_NhSC, strict=True):
            self._answer(request, mouth_hSC, size, seconds)

    def _answer(self, request: Request, mouth_hSC: np.ndarray | None, size: int, seconds: float) -> None:
        self.connection.send(
            Drawn(request.session, request.avatar, request.epoch, request.tick, mouth_hSC, size, seconds)
        )


def _end_with(parent: int) -> None:
    """A process whose parent was killed has nobody to draw for."""
    while os.getppid() == parent:
        time.sleep(IDLE_S)
    os._exit(1)
