"""The way from training to the tracker: a bounded feed into a process of its own, which never makes training wait."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["CLIENT", "Feed"]

CLIENT = "launch.tracking.client"  # the module at the far end
MAX_BYTES = 128 * 2**20  # of what waits for a tracker that is slow; what comes on top is dropped and counted


class Feed:
    """Messages to the tracker's process, which this object starts.

    ``put`` copies its message and returns: a thread writes it, and whatever happens to the process, the thread or the
    disk behind them, nothing is raised into training. A message is a tuple of a word and plain values or numpy arrays.

    Args:
        log: file for whatever the process and the client in it have to say.
        complain: takes the one sentence that says why tracking is off; called once at most.
        max_bytes: what may wait.
    """

    def __init__(self, log: Path, complain: Callable[[str], None], max_bytes: int = MAX_BYTES) -> None:
        self.log, self.max_bytes = log, max_bytes
        self.dropped = 0
        self._complain, self._is_off = complain, False
        self._waiting: deque[bytes | None] = deque()
        self._waiting_bytes = 0
        self._ready = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._pump, name="tracking", daemon=True)

    def start(self) -> None:
        """Start the process; where that fails, the feed is off."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            ours, theirs = os.pipe()[::-1]
            self._connection = Connection(ours, readable=False)
            try:
                with self.log.open("ab") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", CLIENT, str(theirs)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=[theirs],
                        start_new_session=True,  # Ctrl-C is for training; this process ends when its feed does
                        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
                    )
            finally:
                os.close(theirs)
        except OSError as error:
            self._give_up(f"its process does not start ({error})")
            return
        self._thread.start()

    def put(self, *message: Any) -> None:
        """Hand a message over; it is dropped where too much waits already, or tracking is off."""
        if self._is_off:
            return
        try:
            data = pickle.dumps(message)
        except Exception:  # a value of a user's own; the rest is told
            data = b""
        with self._ready:
            has_room = bool(data) and self._waiting_bytes + len(data) <= self.max_bytes
            if has_room:
                self._waiting.append(data)
                self._waiting_bytes += len(data)
                self._ready.notify()
        if not has_room:
            self.dropped += 1
            if self.dropped == 1:
                self._complain(
                    f"wandb tracking falls behind, and some of it is left out (see {self.log}); the run and its own "
                    "metrics.jsonl go on."
                )

    def close(self, *message: Any, patience_s: float) -> bool:
        """Send a last message and wait ``patience_s`` for the process, then end it; says whether all is well."""
        if self._process is None:
            return False
        deadline = time.monotonic() + patience_s
        with self._ready:
            self._waiting += [pickle.dumps(message), None]  # the last word has room in any case
            self._ready.notify()
        self._thread.join(patience_s)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.1, deadline - time.monotonic()))
        if self._process.poll() is None:
            self._give_up(f"it did not finish within {patience_s:g} s and was ended")
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return False
        if self._process.returncode:
            self._give_up(f"its process ended with status {self._process.returncode}")
        return not self._is_off

    def _pump(self) -> None:
        assert self._connection is not None
        with contextlib.closing(self._connection) as connection:
            while True:
                with self._ready:
                    while not self._waiting:
                        self._ready.wait()
                    data = self._waiting.popleft()
                if data is None:
                    return
                try:
                    connection.send_bytes(data)
                except OSError:
                    self._give_up("its process ended")
                    return
                with self._ready:
                    self._waiting_bytes = max(0, self._waiting_bytes - len(data))

    def _give_up(self, why: str) -> None:
        with self._ready:
            was_off, self._is_off = self._is_off, True
            self._waiting.clear()
            self._waiting_bytes = 0
        if not was_off:
            self._complain(
                f"wandb tracking is off: {why}; {self.log} has its words. The run and its own metrics.jsonl go on."
            )
