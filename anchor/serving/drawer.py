"""The server's side of the drawing process: hand out mouths to draw, and bring the process back when it dies.

A successor stands ready: it has imported PyTorch, which takes seconds, and holds nothing of an avatar or of the device.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from anchor.errors import AnchorError
from anchor.serving.batching import Request
from anchor.serving.drawing import HERE, Drawn, Load, serve_drawing

__all__ = ["Drawer"]

MOST_UNSENT = 256  # requests; behind them the process is not reading any more, and pictures would be late anyway
START_S = 120.0  # s for a process to load PyTorch and an avatar on a busy machine
HANG_S = 5.0  # without an answer while mouths are asked for: a process that stands still is no better than a dead one
STOP_S = 3.0
LINGER_S = 0.5  # between the end of a process's pipe and its own


class _Child(NamedTuple):
    """A drawing process and our end of its pipe."""

    process: BaseProcess
    connection: Connection


class Drawer:
    """One drawing process on one device, and its successor when it dies.

    Everything here is called in the server's event loop, and none of it waits for the process.

    Args:
        load: what the process loads an avatar with; a function that can be found by its name.
        device, precision, threads: as the process uses them; a name of ``torch``'s floating types.
        on_drawn: gets every answer, in the event loop.
        on_event: called with (what happened, about what).
    """

    def __init__(
        self, load: Load, on_drawn: Callable[[Drawn], None], device: str = "cpu", precision: str = "float32",
        threads: int = 1, on_event: Callable[[str, dict[str, object]], None] = lambda name, about: None,
    ) -> None:  # fmt: skip
        self._load, self._on_drawn, self._on_event = load, on_drawn, on_event
        self._settings = (device, precision, threads)
        self._avatars: dict[str, str] = {}
        self._costs: dict[str, dict[int, float]] = {}  # s of a batch by size, as the first process measured them
        self._ready: dict[str, asyncio.Future[dict[int, float]]] = {}
        self._child: _Child | None = None
        self._spare: _Child | None = None
        self._outbox: queue.Queue[object] = queue.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closing = False
        self._num_asked = 0  # of this process, and not answered
        self._heard = self._died = 0.0  # s, as time.monotonic counts
        self.num_restarts = 0
        self.is_alive = False  # whether pictures can be expected

    @property
    def pid(self) -> int | None:
        """Of the process that draws now."""
        return self._child.process.pid if self._child is not None else None

    @property
    def num_waiting(self) -> int:
        """Mouths that were asked for and are not answered yet."""
        return self._num_asked

    @property
    def has_spare(self) -> bool:
        """Whether a successor is ready to draw as soon as it has loaded the avatars."""
        with contextlib.suppress(OSError):
            return self._spare is not None and self._spare.connection.poll()
        return False

    async def start(self) -> None:
        """Begin; avatars are added one by one."""
        self._loop = asyncio.get_running_loop()
        self._launch()

    async def add(self, name: str, path: str) -> dict[int, float]:
        """Make ``name`` known; seconds of a batch by size, measured when it is ready to draw.

        Raises:
            AnchorError: the process says why it cannot.
        """
        assert self._loop is not None, "started"
        self._avatars[name] = path
        future = self._ready[name] = self._loop.create_future()
        self._outbox.put(("avatar", name, path, None))
        try:
            self._costs[name] = await asyncio.wait_for(asyncio.shield(future), START_S)
        except AnchorError:
            self._avatars.pop(name, None)
            raise
        except asyncio.TimeoutError:
            self.forget(name)
            raise AnchorError(f"the drawing process has not loaded it within {START_S:.0f} s.") from None
        self._raise_spare()
        return self._costs[name]

    def forget(self, name: str) -> None:
        """Free what an avatar holds."""
        for held in (self._avatars, self._ready, self._costs):
            held.pop(name, None)  # type: ignore[attr-defined]
        self._outbox.put(("forget", name))

    def submit(self, request: Request) -> bool:
        """Ask for a picture; says whether it was sent. Nobody is kept waiting."""
        if not self.is_alive or self._outbox.qsize() > MOST_UNSENT:
            self._end_if_hung()
            return False
        if not self._num_asked:
            self._heard = time.monotonic()
        self._num_asked += 1
        self._outbox.put(request)
        self._end_if_hung()
        return True

    async def close(self) -> None:
        """End the processes."""
        self._is_closing = True
        self.is_alive = False
        self._outbox.put(None)
        for child in (self._spare, self._child):
            if child is None:
                continue
            child.process.terminate()
            await asyncio.get_running_loop().run_in_executor(None, child.process.join, STOP_S)
            if child.process.is_alive():
                child.process.kill()
        if self._spare is not None:
            self._spare.connection.close()

    def _end_if_hung(self) -> None:
        is_loading = any(not future.done() for future in self._ready.values())
        if self._num_asked and not is_loading and time.monotonic() - self._heard > HANG_S and self._child is not None:
            self._child.process.kill()  # the end of its pipe brings the successor
            self._heard = time.monotonic()

    def _spawn(self) -> _Child:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve_drawing, args=(theirs, self._load, *self._settings, os.getpid()), daemon=True, name="drawing"
        )
        process.start()
        theirs.close()
        return _Child(process, ours)

    def _raise_spare(self) -> None:
        if self._spare is None and not self._is_closing:
            self._spare = self._spawn()

    def _launch(self) -> None:
        child, self._spare = self._spare, None
        if child is None or not child.process.is_alive():
            child = self._spawn()
        self._child, self._outbox = child, queue.Queue()
        self._num_asked, self._heard = 0, time.monotonic()
        for name, path in self._avatars.items():
            self._outbox.put(("avatar", name, path, self._costs.get(name)))
        threading.Thread(target=self._send, args=(child.connection, self._outbox), daemon=True).start()
        threading.Thread(target=self._receive, args=(child,), daemon=True).start()

    def _send(self, connection: Connection, outbox: queue.Queue[object]) -> None:
        """In a thread of its own: a full pipe makes nobody else wait."""
        with contextlib.suppress(OSError, ValueError):
            while (message := outbox.get()) is not None:
                connection.send(message)
        with contextlib.suppress(OSError):
            connection.close()

    def _receive(self, child: _Child) -> None:
        """In a thread of its own: answers go to the event loop; the end of the pipe is the end of the process."""
        assert self._loop is not None
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                message = child.connection.recv()
                self._loop.call_soon_threadsafe(self._take, child, message)
        child.process.join(LINGER_S)
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are we
            self._loop.call_soon_threadsafe(self._revive, child)

    def _take(self, child: _Child, message: object) -> None:
        if child is not self._child:
            return
        self._heard = time.monotonic()
        if isinstance(message, Drawn):
            self._num_asked -= 1
            self._on_drawn(message)
            return
        if message == HERE:
            return
        assert isinstance(message, tuple)
        kind, name, what = message
        if kind == "ready" and not self.is_alive:
            self.is_alive = True
            if self._died:
                self._on_event("drawing_back", {"seconds": round(time.monotonic() - self._died, 3), "pid": self.pid})
                self._raise_spare()
        future = self._ready.get(name)
        if future is None or future.done():
            return
        if kind == "ready":
            future.set_result(what)
        else:
            future.set_exception(AnchorError(what))

    def _revive(self, child: _Child) -> None:
        if self._is_closing or child is not self._child:
            return
        self.is_alive = False
        self.num_restarts += 1
        self._died = time.monotonic()
        self._outbox.put(None)
        status = child.process.exitcode
        self._on_event("drawing_ended", {"status": status, "pid": child.process.pid})
        for future in self._ready.values():
            if not future.done():
                future.set_exception(AnchorError(f"the drawing process ended with status {status}."))
        self._launch()
