"""What SIGTERM, SIGINT and SIGUSR1 ask of a process that trains: to leave at the next step, with everything saved.

A handler of Python's runs only when its main thread comes back from C++, and must not wait for other ranks there. So
the handler does next to nothing; a thread of its own reads the numbers of signals from a pipe, keeps what was asked
for, and ends the process where the main thread cannot: before training there is nothing to save, and a rank that hangs
must not hold the others beyond the time that schedulers give.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["STOP", "FetchInterruptedError", "Stop", "StoppedError", "catch_signals"]

STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 75, signal.SIGUSR1: 75}  # 75, EX_TEMPFAIL: start it again to go on
AT_ONCE = {**STATUSES, signal.SIGINT: 130}  # for a second signal
SAME_S = 2.0  # a scheduler, a shell and an agent may each pass on one and the same stop: that much apart it is one
LEAVE_S = 15.0  # for the step, and what the other ranks do meanwhile; Kubernetes and SLURM kill after 30 s
SAVE_S = 60.0  # that long for a save that has begun: a whole one is worth more than a prompt end


class StoppedError(SystemExit):
    """The run was asked to stop and did; ``code`` is the status, the message says where it stands."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status)
        self.message = message

    def __str__(self) -> str:
        return self.message


class FetchInterruptedError(StoppedError):
    """A signal came while the loader made this process wait; no batch is half used.

    Whoever saves on the way out says so in ``code`` and ``message``.
    """

    def __init__(self) -> None:
        super().__init__(STOP.status, "stopped while it waited for the loader")


class Stop:
    """What was asked of this process, and how far it is in answering."""

    def __init__(self) -> None:
        self.number: signal.Signals | None = None  # the first signal
        self.is_training = False  # steps are taken: from now on there is something to save
        self.is_saving = False
        self.is_agreed = False  # every rank knows: another signal changes nothing
        self.is_waiting = False  # for the loader: the main thread may be thrown out of it
        self._came_at = 0.0

    @property
    def status(self) -> int:
        """The exit status that answers the signal; 0 where none came."""
        return STATUSES[self.number] if self.number is not None else 0

    def receive(self, number: int) -> None:
        """Keep the first signal; a second one ends the process, and so does one before training."""
        now = time.monotonic()
        if self.number is None:
            self.number, self._came_at = signal.Signals(number), now
            if not self.is_training:
                _end(self.status, f"stopped by {self.number.name} before the first step")
        elif now - self._came_at > SAME_S and not self.is_agreed:
            _end(AT_ONCE[signal.Signals(number)], "stopped at once")

    def check_time(self) -> None:
        """End the process if it should have left by now."""
        if self.number is None:
            return
        waited_s = time.monotonic() - self._came_at
        if waited_s > (SAVE_S if self.is_saving else LEAVE_S):
            _end(
                self.status,
                f"stopped by {self.number.name}; some rank did not end its step within {LEAVE_S:.0f} s, so nothing "
                "more was saved: the same command goes on from last.ckpt",
            )

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """While a checkpoint is written."""
        before, self.is_saving = self.is_saving, True
        try:
            yield
        finally:
            self.is_saving = before

    def begin_waiting(self) -> None:
        """The loader is asked for a batch, and giving up on it would lose nothing, until ``is_waiting`` is False.

        Raises:
            FetchInterruptedError: a signal came before.
        """
        self.is_waiting = True
        if self.number is not None:
            self.is_waiting = False
            raise FetchInterruptedError


STOP = Stop()


def catch_signals() -> None:
    """From now on signals are answered as above; for the main thread of a process of its own."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in STATUSES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it for Ctrl-C
            signal.signal(number, _interrupt_fetch)
    threading.Thread(target=_watch, args=(reading,), name="anchor-stops", daemon=True).start()


def _interrupt_fetch(number: int, frame: FrameType | None) -> None:
    STOP.receive(number)  # the thread does so too, and both may be first
    if STOP.is_waiting:
        STOP.is_waiting = False
        raise FetchInterruptedError


def _watch(reading: int) -> None:
    while True:
        ready, _, _ = select.select([reading], [], [], 0.5)
        for number in os.read(reading, 64) if ready else b"":
            if number in STATUSES:  # loader processes that end say so by a signal too
                STOP.receive(number)
        STOP.check_time()


def _end(status: int, message: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"anchor train: {message}.", file=sys.stderr, flush=True)
    os._exit(status)
