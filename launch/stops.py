"""What SIGTERM, SIGINT, SIGHUP and SIGUSR1 ask of a training: to leave at the next step, with everything saved.

A handler of Python's runs only when its main thread comes back from C++, and must not wait for other ranks there. So
the handler does next to nothing and counts nothing, for it may be late by a whole step; a thread of its own reads the
numbers of signals from a pipe, keeps what was asked for, and ends the process where the main thread cannot: before
training there is nothing to save, and a rank that hangs must not hold the others beyond the time that schedulers give.
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

__all__ = ["STATUSES", "STOP", "STOP_TIMEOUT_S", "FetchInterruptedError", "Stop", "StoppedError", "catch_signals"]

STATUSES = {  # 75, EX_TEMPFAIL: start it again to go on
    signal.SIGTERM: 143,
    signal.SIGINT: 75,
    signal.SIGHUP: 129,  # the terminal or the connection has gone
    signal.SIGUSR1: 75,
}
AT_ONCE = {**STATUSES, signal.SIGINT: 130}  # for a second signal
SAME_S = 2.0  # a scheduler, a shell and an agent may each pass on one and the same stop: that much apart it is one
STOP_TIMEOUT_S = 20.0  # until the agent kills, unless launch.stop_timeout_s says otherwise; Kubernetes and SLURM: 30 s
LEAVE_SHARE = 0.75  # of that for the step and what the other ranks do meanwhile, and again for what follows a save
SAVE_S = 60.0  # at least that long for a save that has begun: a whole one is worth more than a prompt end


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
        self.leave_s = LEAVE_SHARE * STOP_TIMEOUT_S
        self._came_at: float | None = None  # when the first signal was counted
        self._saved_at = 0.0  # when the last save began or ended

    def limit(self, stop_timeout_s: float) -> None:
        """Leave well before the agent kills, which it does ``stop_timeout_s`` after the signal."""
        self.leave_s = LEAVE_SHARE * stop_timeout_s

    @property
    def status(self) -> int:
        """The exit status that answers the signal; 0 where none came."""
        return STATUSES[self.number] if self.number is not None else 0

    def note(self, number: int) -> None:
        """Keep the signal for the main thread, which may be sooner than the thread that counts, or much later."""
        if self.number is None:
            self.number = signal.Signals(number)

    def receive(self, number: int) -> None:
        """Count a signal: a second one ends the process, and so does one before training."""
        now = time.monotonic()
        self.note(number)
        if self._came_at is None:
            self._came_at = now
            if not self.is_training:
                _end(self.status, f"stopped by {signal.Signals(number).name} before the first step")
        elif now - self._came_at > SAME_S and not self.is_agreed:
            _end(AT_ONCE[signal.Signals(number)], "stopped at once")

    def check_time(self) -> None:
        """End the process if it should have left by now."""
        if self.number is None or self._came_at is None:
            return
        waited_s, limit_s = time.monotonic() - max(self._came_at, self._saved_at), self.leave_s
        if self.is_saving:
            limit_s, why = max(SAVE_S, limit_s), "did not end its save, and the checkpoint before it stands"
        elif self._saved_at > self._came_at:
            why = "did not leave after a save"
        else:
            why = "did not end its step, so nothing more was saved"
        if waited_s > limit_s:
            _end(
                self.status,
                f"stopped by {self.number.name}; within {limit_s:.0f} s some rank {why}: the same command goes on "
                "from last.ckpt",
            )

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """While a checkpoint is written; whoever must leave has its time anew after it."""
        self._saved_at, before, self.is_saving = time.monotonic(), self.is_saving, True
        try:
            yield
        finally:
            self._saved_at = time.monotonic()
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
    STOP.note(number)
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
