"""`executor=ray`: one Ray task per clip, on as many machines as the cluster has."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from anchor.errors import ConfigError, ShardError
from anchor.faces import make_detector
from anchor.preprocess.cluster import check_nodes, open_cluster
from anchor.preprocess.pool import num_workers, prepare_process
from anchor.preprocess.results import ClipResult
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sources import Source
from anchor.preprocess.spool import writing
from anchor.preprocess.work import FinishedClips

__all__ = ["make_on_ray", "run_all_on_ray"]

Task = TypeVar("Task")
Result = TypeVar("Result")

CARD_SHARE = 0.125  # of a card for each clip under way: finding faces needs little of one
ROOM_EVERY_S = 5.0  # s after which the size of the cluster is asked for again
NODE_DEATHS = 5  # a clip is not to blame when its machine goes, but five would be strange

_is_prepared = False


def make_on_ray(
    sources: Sequence[Source],
    settings: ClipSettings,
    clips: FinishedClips,
    workers: int,
    on_crash: Callable[[Source], ClipResult],
) -> Generator[tuple[int, ClipResult], None, None]:
    """``(i, result)`` of ``sources`` as they are finished, each kept in ``clips`` by the node that made it.

    Raises:
        ConfigError, ShardError: the cluster cannot be used as it is, or ``clips`` cannot be written.
    """
    folder = clips.root.absolute()
    function = functools.partial(_make, clips=FinishedClips(folder), settings=settings)
    tasks = [_absolute(source) for source in sources]
    check = functools.partial(_check_node, tasks[0].path if tasks else folder, settings)
    yield from run_all_on_ray(function, tasks, workers, on_crash, folder, check, settings.faces_device)


def run_all_on_ray(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    on_crash: Callable[[Task], Result],
    folder: Path,
    check: Callable[[], None],
    device: str = "cpu",
) -> Generator[tuple[int, Result], None, None]:
    """``(i, function(tasks[i]))`` as they finish; ``on_crash`` makes the result of a task that killed two workers.

    ``workers`` is the most tasks under way, 0 for what the cluster has room for. ``folder`` must be one that all nodes
    share, and ``check`` must pass on each: both are tried first. ``device`` says which kind of card a task needs a
    share of. Everything that is sent must be found by absolute paths.

    Raises:
        ConfigError, ShardError: the cluster cannot be used as it is.
    """
    if not tasks:
        return
    with open_cluster(num_workers(workers, len(tasks))) as (ray, check_signals):
        options = _needs(ray, device)
        environment = {name: value for name, value in os.environ.items() if name.startswith("ANCHOR_")}
        environment["OMP_NUM_THREADS"] = "1"
        count = check_nodes(ray, folder, check, environment)
        cores = ray.cluster_resources().get("CPU", 0)
        print(f"preprocess: ray with {count} node{'s' * (count != 1)}, {cores:.0f} cores", file=sys.stderr)
        remote = ray.remote(num_cpus=1, max_retries=0, **options)(_work)
        shared = ray.put((function, environment))
        yield from _run(ray, check_signals, remote, shared, tasks, workers, on_crash)


def _run(
    ray: Any,
    check_signals: Callable[[], None],
    remote: Any,
    shared: Any,
    tasks: Sequence[Task],
    workers: int,
    on_crash: Callable[[Task], Result],
) -> Generator[tuple[int, Result], None, None]:
    coming, again = iter(range(len(tasks))), deque[int]()
    waiting: dict[Any, int] = {}
    worker_deaths: Counter[int] = Counter()
    node_deaths: Counter[int] = Counter()
    room = _Room(ray, workers)
    # Nothing is cancelled on leaving: Ray 2.60 ends this process (status 1) where a task begins while it is cancelled.
    # The workers of a command that disconnects are ended by their nodes.
    while True:
        while len(waiting) < room.size():  # few are handed out: 400 000 would be more than a scheduler likes
            i = next(coming, None)
            i = again.popleft() if i is None and again else i
            if i is None:
                break
            waiting[remote.remote(shared, tasks[i])] = i
        if not waiting:
            return
        done, _ = ray.wait(list(waiting), timeout=1.0)
        check_signals()
        for reference in done:
            i = waiting.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayTaskError as error:  # raised by the function
                raise error.cause from error
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                worker_deaths[i] += 1
            except (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError):
                node_deaths[i] += 1
            else:
                yield i, result
                continue
            if worker_deaths[i] > 1 or node_deaths[i] >= NODE_DEATHS:
                yield i, on_crash(tasks[i])
            else:
                again.append(i)


class _Room:
    """How many tasks may be under way."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray, self._workers = ray, workers
        self._size, self._asked = 0, 0.0

    def size(self) -> int:
        """``workers``, else twice the cores that the cluster has by now: no core waits, and a cluster may grow."""
        if self._workers:
            return self._workers
        if not self._size or time.monotonic() - self._asked > ROOM_EVERY_S:
            self._size = max(2, 2 * int(self._ray.cluster_resources().get("CPU", 0)))
            self._asked = time.monotonic()
        return self._size


def _needs(ray: Any, device: str) -> dict[str, Any]:
    """What a task needs besides a core."""
    has = ray.cluster_resources()
    kind = device.partition(":")[0]
    if kind == "auto":
        kind = "cuda" if has.get("GPU") else "mlu" if has.get("MLU") else "cpu"
    if kind == "cuda":
        if not has.get("GPU"):
            raise ConfigError(f"faces.device={device}: the Ray cluster has no GPU. Use faces.device=cpu.")
        return {"num_gpus": CARD_SHARE}
    if kind == "mlu":
        if not has.get("MLU"):
            raise ConfigError(
                f"faces.device={device}: the Ray cluster has no resource called MLU. Start its nodes with "
                "`ray start --resources='{\"MLU\": 8}'` (the number of cards), or use faces.device=cpu."
            )
        return {"resources": {"MLU": CARD_SHARE}}
    return {}


def _work(shared: tuple[Callable[[Any], Any], dict[str, str]], task: Any) -> Any:
    """On a node."""
    global _is_prepared
    function, environment = shared
    if not _is_prepared:
        prepare_process(environment, os.getpid())
        _is_prepared = True
    return function(task)


def _absolute(source: Source) -> Source:
    """A node has a working folder of its own."""
    truth = source.truth_path.absolute() if source.truth_path is not None else None
    return replace(source, path=source.path.absolute(), truth_path=truth)


def _make(source: Source, clips: FinishedClips, settings: ClipSettings) -> ClipResult:
    """On a node: make the clip in a folder that no other node can have, and put it among the finished ones."""
    apart = FinishedClips(clips.root / f"doing-{uuid.uuid4().hex}")
    try:
        result = apart.make(source, settings)
        if result.is_settled:
            folder = clips.folder(source, settings)
            with writing(folder):
                shutil.rmtree(folder, ignore_errors=True)
                apart.folder(source, settings).rename(folder)
    finally:
        shutil.rmtree(apart.root, ignore_errors=True)
    return result


def _check_node(source: Path, settings: ClipSettings) -> None:
    """On a node: whether it has the videos, and the detector's model."""
    if not source.exists():
        raise ShardError(f"{source} is not seen. Put the videos into a folder that all nodes share.")
    make_detector(settings.detector)
