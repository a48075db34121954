"""The server's side of the drawing process: hand out mouths to draw, and bring the process back when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from anchor.errors import AnchorError
from anchor.serving.batching import Request
from anchor.serving.drawing import Drawn, Load, serve_drawing

__all__ = ["Drawer"]

MOST_UNSENT = 256  # requests; behind them the process is not reading any more, and pictures would be late anyway
START_S = 120.0  # s for a process to load PyTorch and an avatar on a busy machine
STOP_S = 3.0


class Drawer:
    """One drawing process on one device, and its successor when it dies.

    Everything here is called in the server's event loop, and none of it waits for the process.

    Args:
        load: what the process loads an avatar with; a function that can be found by its name.
        device, precision, threads: as the process uses them; a name of ``torch``'s floating types.
        on_drawn: gets every answer, in the event loop.
    """

    def __init__(
        self, load: Load, on_drawn: Callable[[Drawn], None], device: str = "cpu", precision: str = "float32",
        threads: int = 1,
    ) -> None:  # fmt: skip
        self._load, self._on_drawn = load, on_drawn
        self._settings = (device, precision, threads)
        self._avatars: dict[str, str] = {}
        self._ready: dict[str, asyncio.Future[dict[int, float]]] = {}
        self._process: multiprocessing.process.BaseProcess | None = None
        self._outbox: queue.Queue[object] = queue.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closing = False
        self.num_restarts = 0
        self.is_alive = False  # whether pictures can be expected

    @property
    def pid(self) -> int | None:
        """Of the process that draws now."""
        return self._process.pid if self._process is not None else None

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
        self._outbox.put(("avatar", name, path))
        try:
            return await asyncio.wait_for(asyncio.shield(future), START_S)
        except AnchorError:
            self._avatars.pop(name, None)
            raise

    def forget(self, name: str) -> None:
        """Free what an avatar holds."""
        self._avatars.pop(name, None)
        self._ready.pop(name, None)
        self._outbox.put(("forget", name))

    def submit(self, request: Request) -> bool:
        """Ask for a picture; says whether it was sent. Nobody is kept waiting."""
        if not self.is_alive or self._outbox.qsize() > MOST_UNSENT:
            return False
        self._outbox.put(request)
        return True

    async def close(self) -> None:
        """End the process."""
        self._is_closing = True
        self.is_alive = False
        self._outbox.put(None)
        process = self._process
        if process is not None:
            process.terminate()
            await asyncio.get_running_loop().run_in_executor(None, process.join, STOP_S)
            if process.is_alive():
                process.kill()

    def _launch(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve_drawing, args=(theirs, self._load, *self._settings, os.getpid()), daemon=True, name="drawing"
        )
        process.start()
        theirs.close()
        self._process, self._outbox = process, queue.Queue()
        for name, path in self._avatars.items():
            self._outbox.put(("avatar", name, path))
        threading.Thread(target=self._send, args=(ours, self._outbox), daemon=True).start()
        threading.Thread(target=self._receive, args=(ours, process), daemon=True).start()

    def _send(self, connection: Connection, outbox: queue.Queue[object]) -> None:
        """In a thread of its own: a full pipe makes nobody else wait."""
        with contextlib.suppress(OSError, ValueError):
            while (message := outbox.get()) is not None:
                connection.send(message)
        with contextlib.suppress(OSError):
            connection.close()

    def _receive(self, connection: Connection, process: multiprocessing.process.BaseProcess) -> None:
        """In a thread of its own: answers go to the event loop; the end of the pipe is the end of the process."""
        assert self._loop is not None
        with contextlib.suppress(OSError, EOFError, ValueError):
            while True:
                message = connection.recv()
                self._loop.call_soon_threadsafe(self._take, message)
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are we
            self._loop.call_soon_threadsafe(self._revive, process)

    def _take(self, message: object) -> None:
        if isinstance(message, Drawn):
            self._on_drawn(message)
            return
        assert isinstance(message, tuple)
        kind, name, what = message
        self.is_alive = self.is_alive or kind == "ready"
        future = self._ready.get(name)
        if future is None or future.done():
            return
        if kind == "ready":
            future.set_result(what)
        else:
            future.set_exception(AnchorError(what))

    def _revive(self, process: multiprocessing.process.BaseProcess) -> None:
        if self._is_closing or process is not self._process:
            return
        self.is_alive = False
        self.num_restarts += 1
        self._outbox.put(None)
        for future in self._ready.values():
            if not future.done():
                future.set_exception(AnchorError(f"the drawing process ended with status {process.exitcode}."))
        self._launch()
