"""Run one function over many clips in several processes, and survive whatever a clip does to its process."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import Any, TextIO, TypeVar

from anchor.preprocess.cards import take_number
from anchor.preprocess.memory import keep_one_arena
from anchor.preprocess.watch import watch_this_process
from anchor.timing import FPS

__all__ = ["Progress", "num_workers", "prepare_process", "run_all"]

Task = TypeVar("Task")
Result = TypeVar("Result")
LEAVE_S = 5.0  # s for a worker that was told to end


def num_workers(wanted: int, num_tasks: int) -> int:
    """``wanted`` processes, 0 for one per core that this process may use; never more than tasks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, num_tasks))


def run_all(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, on_crash: Callable[[Task], Result]
) -> Generator[tuple[int, Result], None, None]:
    """``(i, function(tasks[i]))`` as they finish; ``on_crash`` makes the result of a task that killed two processes.

    A process that dies takes its own task with it and no other. That task is done again when all others are through,
    with a quarter of the workers: a process that was ended for want of memory, or from outside, does its work then.
    """
    killed: list[int] = []
    with contextlib.closing(_attempt(function, tasks, range(len(tasks)), workers)) as outcomes:
        for i, future in outcomes:
            try:
                result = future.result()
            except BrokenProcessPool:
                killed.append(i)
                continue
            yield i, result
    with contextlib.closing(_attempt(function, tasks, killed, max(1, workers // 4))) as outcomes:
        for i, future in outcomes:
            try:
                result = future.result()
            except BrokenProcessPool:
                result = on_crash(tasks[i])
            yield i, result


def _attempt(
    function: Callable[[Task], Result], tasks: Sequence[Task], numbers: Iterable[int], workers: int
) -> Generator[tuple[int, Future[Result]], None, None]:
    """The finished futures of the tasks with these numbers; each worker has one task at a time."""
    seats = [_Seat(number) for number in range(workers)]
    coming = iter(numbers)
    waiting: dict[Future[Result], tuple[int, _Seat]] = {}
    try:
        for seat, i in zip(seats, coming, strict=False):
            waiting[seat.start(function, tasks[i])] = i, seat
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                i, seat = waiting.pop(future)
                following = next(coming, None)
                if following is not None:
                    waiting[seat.start(function, tasks[following])] = following, seat
                yield i, future
    finally:  # Ctrl-C included: the workers ignore it and are ended here
        for seat in seats:
            seat.leave()
        deadline = time.monotonic() + LEAVE_S
        for seat in seats:
            seat.wait(deadline)


class _Seat:
    """A worker's place: an executor of one process, and a new one when that has died."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._pool: ProcessPoolExecutor | None = None
        self._processes: list[Any] = []

    def start(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        """Hand out ``task``."""
        if self._pool is not None:
            with contextlib.suppress(BrokenProcessPool):
                return self._pool.submit(function, task)
        self._pool = ProcessPoolExecutor(
            1, mp_context=_context(), initializer=_start_worker, initargs=(dict(os.environ), self._number)
        )
        return self._pool.submit(function, task)

    def leave(self) -> None:
        """End the process, also in the middle of a task."""
        if self._pool is not None:
            self._processes = list((getattr(self._pool, "_processes", None) or {}).values())
            for process in self._processes:
                process.terminate()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def wait(self, deadline: float) -> None:
        """Return when the process has ended; what does not end by itself until ``deadline`` is killed."""
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()


def _context() -> multiprocessing.context.BaseContext:
    """Processes that begin clean (a fork would inherit threads and locks) but import torch only once between them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["anchor.preprocess.clip"])
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT}
    )  # Ctrl-C is the parent's: the server inherits this
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _start_worker(environment: dict[str, str], number: int) -> None:
    """``environment`` is the parent's of now: the fork server knows that of the first run only."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_process(environment, number)


def prepare_process(environment: Mapping[str, str], number: int) -> None:
    """Make this process the worker ``number``: its variables, one thread, one heap, and the watch over it."""
    import cv2

    os.environ.update(environment)
    take_number(number)
    keep_one_arena()
    watch_this_process()
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Progress:
    """One line that says how far, how fast and how long still; on a terminal it rewrites itself."""

    def __init__(self, total: int, stream: TextIO | None = None, every_s: float = 5.0) -> None:
        self._total, self._stream, self._every_s = total, stream or sys.stderr, every_s
        self._start = self._shown = time.monotonic()
        self._is_terminal = self._stream.isatty()

    def show(self, done: int, frames: int) -> None:
        """``done`` clips with ``frames`` frames, of 25 a second, are finished."""
        now = time.monotonic()
        if done < self._total and now - self._shown < (0.2 if self._is_terminal else self._every_s):
            return
        self._shown, spent = now, max(now - self._start, 1e-6)
        left, rate = spent / done * (self._total - done), frames / spent
        line = (
            f"preprocess: {done}/{self._total} clips, {rate:.0f} frames/s, {rate / FPS:.1f}x real time, "
            f"{_duration(left)} left"
        )
        self._stream.write(f"\r{line:<78}" if self._is_terminal else f"{line}\n")
        if self._is_terminal and done == self._total:
            self._stream.write("\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
