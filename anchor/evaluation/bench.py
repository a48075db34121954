"""Where clips are scored: the networks of one process, and several processes that each have their own."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from anchor.batch import ClipSource
from anchor.device import resolve_device
from anchor.errors import CheckpointError, ConfigError
from anchor.evaluation.clips import ClipShelf
from anchor.evaluation.given import load_given
from anchor.evaluation.mouths import Judges
from anchor.evaluation.opening import OpeningReader
from anchor.faces.landmarks import LandmarkName, make_landmarks
from anchor.inference import load_generator, show_progress
from anchor.models import SyncNet, WeightKind, load_network
from anchor.preprocess.cards import own_card
from anchor.preprocess.pool import num_workers, run_all

__all__ = ["Bench", "Kit", "device_name", "do_all", "set_up"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Kit:
    """What a process must be told to score clips: paths, names and a source, all of which can be sent to another."""

    source: ClipSource
    generators: Mapping[str, Path]  # "ours" first; empty for an expert alone
    expert: Path | None
    weights: WeightKind
    lpips: Path | None
    inception: Path | None
    syncnet_weights: Path | None
    landmarks: LandmarkName
    device: str
    max_frames: int  # of each clip
    reader: OpeningReader | None = None  # on the CPU


@dataclass
class Bench:
    """A kit set up: its networks on a device, and clips read at the size that everything is measured at."""

    device: torch.device
    generators: dict[str, nn.Module]
    sizes: dict[str, int]  # px, of the faces that each draws
    judges: Judges
    shelf: ClipShelf
    shelves: dict[int, ClipShelf]  # by such a size


def set_up(kit: Kit, device: str | None = None) -> Bench:
    """Load everything, on ``device`` if not on the kit's.

    Raises:
        CheckpointError: a checkpoint or a given network is missing or of another kind.
        DeviceError: there is no such device.
        FaceError: the landmark backend asked for is not here.
    """
    where = resolve_device(device or kit.device)
    expert = cast(SyncNet, load_network(kit.expert, "expert", kit.weights)) if kit.expert else None
    if expert is not None:
        expert.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generators = {name: _load_generator(path, where, kit.weights) for name, path in kit.generators.items()}
    given = load_given(kit.lpips, kit.inception, kit.syncnet_weights, where)
    reader = kit.reader.to(where) if kit.reader is not None else None
    sizes = {name: int(cast(Any, generator).image_size) for name, generator in generators.items()}
    size = next(iter(sizes.values()), expert.image_size if expert else 0)
    shelves = {one: ClipShelf(kit.source, one, kit.max_frames) for one in {size, *sizes.values()}}
    judges = Judges(expert, reader, given, make_landmarks(kit.landmarks))
    return Bench(where, generators, sizes, judges, shelves[size], shelves)


def do_all(
    function: Callable[[Bench, Item], Result],
    items: Sequence[Item],
    kit: Kit,
    bench: Bench,
    workers: int,
    what: str,
    unit: str,
) -> Iterator[Result]:
    """``function(bench, item)`` of all items in their order, as they come: a result may be large.

    With more workers than one it is done in as many processes. Each sets up the kit for itself, has one thread, and
    takes a card in its turn; ``function`` and its results are sent between them. ``what`` and ``unit`` are for the line
    of progress.

    Raises:
        ConfigError: a process was ended from outside, twice.
    """
    workers = num_workers(workers, len(items))
    if workers == 1:
        for item in show_progress(items, len(items), what, unit):
            yield function(bench, item)
        return
    early: dict[int, Result] = {}  # those that others, begun before them, are still waited for
    place = 0
    elsewhere = functools.partial(_do_elsewhere, kit, function)
    with contextlib.closing(run_all(elsewhere, items, workers, _lost)) as made:
        for number, result in show_progress(made, len(items), what, unit):
            if isinstance(result, _Lost):
                raise ConfigError(
                    f"workers={workers}: a process that scored clips was ended from outside, and again when it was "
                    "tried alone; memory ran out, most likely. Give fewer workers=, or a smaller max_seconds=."
                )
            early[number] = result
            while place in early:
                yield early.pop(place)
                place += 1


def device_name(device: torch.device) -> str:
    """What computes, in words: "cuda: NVIDIA H200", "cpu: AMD EPYC 9654, 2 threads"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "mlu":
        return f"mlu: {torch.mlu.get_device_name()}"  # type: ignore[attr-defined]
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"cpu: {model}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


class _Lost:
    """In the place of a result that two processes died of."""


_bench: Bench | None = None  # of this process, which serves one call of do_all


def _do_elsewhere(kit: Kit, function: Callable[[Bench, Item], Result], item: Item) -> Result | _Lost:
    global _bench
    if _bench is None:
        _bench = set_up(kit, own_card(kit.device))
    return function(_bench, item)


def _lost(item: object) -> _Lost:
    return _Lost()


def _load_generator(path: Path, device: torch.device, weights: WeightKind) -> nn.Module:
    try:
        return load_generator(path, str(device), weights)
    except CheckpointError as error:
        hint = " An expert is scored with stage=syncnet." if "expert" in str(error) else ""
        raise CheckpointError(f"{error}{hint}") from None
