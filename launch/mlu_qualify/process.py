"""One item in processes of its own: started, watched, ended by its time limit, its words kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import tempfile
import time
import traceback
from multiprocessing.context import ForkServerContext
from pathlib import Path

from launch.mlu_qualify.outcome import (
    FAILED,
    OK,
    SHOWS_NOTHING,
    SKIPPED,
    Item,
    NetworkMaker,
    NotHereError,
    Outcome,
    Scene,
)

__all__ = ["make_context", "run_item"]

# What every item imports is imported once: processes are forks of one that has opened no card.
PRELOADED = ["torch", "lightning", "launch.mlu_qualify.items"]
TEXT_LENGTH = 160  # of a reason in the table; all of it is in the item's log
GRACE_S = 10  # for the other ranks, when the first has ended


def make_context() -> ForkServerContext:
    """Where processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run_item(
    item: Item, context: ForkServerContext, cards: int, is_simulated: bool, networks: NetworkMaker | None, logs: Path
) -> Outcome:
    """Run ``item`` and say how it went; what its processes printed is in ``logs``."""
    if item.needs_real_card and is_simulated:
        return Outcome(item.name, SKIPPED, SHOWS_NOTHING, 0.0)
    if item.ranks > cards:
        return Outcome(item.name, SKIPPED, f"needs {item.ranks} cards, and {cards} can be seen", 0.0)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qualify-") as folder:
        log = logs / f"{''.join(letter if letter.isalnum() else '-' for letter in item.name)}.log"
        port = _free_port()
        scenes = [Scene(rank, item.ranks, port, folder, is_simulated, networks) for rank in range(item.ranks)]
        processes = [context.Process(target=enter, args=(item, scene, str(log))) for scene in scenes]
        for process in processes:
            process.start()
        deadline = start + item.timeout_s
        while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
            if any(process.exitcode is not None for process in processes):  # the others get a moment
                deadline = min(deadline, time.monotonic() + GRACE_S)
            time.sleep(0.05)
        is_late = processes[0].is_alive()
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()
        state, text = _read(folder, item, processes[0].exitcode, is_late, log)
    return Outcome(item.name, state, text, round(time.monotonic() - start, 1))


def enter(item: Item, scene: Scene, log: str) -> None:
    """What each process of an item does."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(item.variables)
    state = OK
    try:
        import torch_mlu  # noqa: F401

        text = item.run(scene)
    except NotHereError as reason:
        state, text = reason.state, str(reason)
    except Exception as error:  # whatever a card's library raises is an answer
        traceback.print_exc()
        said = str(error).strip().splitlines()[:1]
        state, text = FAILED, ": ".join([type(error).__name__, *said])[:TEXT_LENGTH]
    Path(scene.folder, f"rank-{scene.rank}.json").write_text(json.dumps([state, text]), encoding="utf-8")
    os._exit(1 if state == FAILED else 0)  # a driver that hangs while it closes has answered all the same


def _read(folder: str, item: Item, status: int | None, is_late: bool, log: Path) -> tuple[str, str]:
    """The answer of the ranks: the first that failed, else rank 0's."""
    answers = [Path(folder, f"rank-{rank}.json") for rank in range(item.ranks)]
    found = [tuple(json.loads(path.read_text(encoding="utf-8"))) for path in answers if path.is_file()]
    failed = [answer for answer in found if answer[0] == FAILED]
    if failed:
        return failed[0]
    if answers[0].is_file():
        return found[0]
    if is_late:
        return FAILED, f"no answer within {item.timeout_s} s; its words: {log}"
    return FAILED, f"the process ended with status {status}; its words: {log}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
