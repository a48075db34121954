"""Run one function over many clips in several processes, and survive whatever a clip does to its process."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import TextIO, TypeVar

from anchor.preprocess.memory import keep_one_arena
from anchor.preprocess.watch import watch_this_process

__all__ = ["Progress", "num_workers", "run_all"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def num_workers(wanted: int, num_tasks: int) -> int:
    """``wanted`` processes, 0 for one per core that this process may use; never more than tasks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, num_tasks))


def run_all(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, on_crash: Callable[[Task], Result]
) -> Iterator[tuple[int, Result]]:
    """``(i, function(tasks[i]))`` as they finish; ``on_crash`` makes the result of a task that killed its process.

    One worker means this process. When a process dies the pool is lost with it: the tasks under way then run in a
    process of their own, so that only the guilty one fails, and a new pool goes on with the others.
    """
    if workers == 1:
        for i, task in enumerate(tasks):
            yield i, function(task)
        return
    left = dict(enumerate(tasks))
    while left:
        under_way: set[int] = set()
        try:
            for i, result in _run_pool(function, left, workers, under_way):
                del left[i]
                yield i, result
        except BrokenProcessPool:
            for i in sorted(under_way & left.keys()):
                task = left.pop(i)
                try:
                    yield from _run_pool(function, {i: task}, 1, set())
                except BrokenProcessPool:
                    yield i, on_crash(task)


def _run_pool(
    function: Callable[[Task], Result], tasks: dict[int, Task], workers: int, under_way: set[int]
) -> Iterator[tuple[int, Result]]:
    """Never more tasks than ``workers`` are handed out; ``under_way`` says which."""
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker, initargs=(dict(os.environ),))
    coming = iter(list(tasks.items()))
    waiting: dict[Future[Result], int] = {}
    try:
        while True:
            for i, task in itertools.islice(coming, workers - len(waiting)):
                under_way.add(i)
                waiting[pool.submit(function, task)] = i
            if not waiting:
                break
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            broken: BrokenProcessPool | None = None
            for future in done:
                i = waiting.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    broken = error
                    continue
                under_way.discard(i)
                yield i, result
            if broken is not None:
                raise broken
        pool.shutdown()
    except BaseException:  # Ctrl-C included: the workers ignore it and are ended here
        for process in list(getattr(pool, "_processes", None) or {}):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        pool.shutdown(wait=False, cancel_futures=True)
        raise


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


def _start_worker(environment: dict[str, str]) -> None:
    """``environment`` is the parent's of now: the fork server knows that of the first run only."""
    import cv2

    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
        """``done`` clips with ``frames`` frames are finished."""
        now = time.monotonic()
        if done < self._total and now - self._shown < (0.2 if self._is_terminal else self._every_s):
            return
        self._shown, spent = now, max(now - self._start, 1e-6)
        left = spent / done * (self._total - done)
        line = f"preprocess: {done}/{self._total} clips, {frames / spent:.0f} frames/s, {_duration(left)} left"
        self._stream.write(f"\r{line:<70}" if self._is_terminal else f"{line}\n")
        if self._is_terminal and done == self._total:
            self._stream.write("\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
