"""The command `anchor preprocess`: videos in, a set of shards out."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from anchor.errors import ConfigError, MediaError, ShardError
from anchor.faces import make_detector
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.clip import ClipResult, ClipSettings, process_clip
from anchor.preprocess.pool import Progress, num_workers, run_all
from anchor.preprocess.report import write_report
from anchor.preprocess.sources import Source, find_sources
from anchor.preprocess.splits import Part, assign_splits
from anchor.shards import ShardSet, ShardSetWriter
from anchor.timing import FPS, WINDOW_FRAMES

__all__ = ["Summary", "preprocess"]

RECIPE_VERSION = 1  # raise it when the same source and arguments would give other shards
OWN_NAMES = ("manifest.json", "report.json", "report.html", "shard-")


@dataclass(frozen=True)
class Summary:
    """What a run of `anchor preprocess` left."""

    kept: int  # clips
    refused: int
    segments: int
    frames: int
    seconds: float
    shards: int
    out: str

    def __str__(self) -> str:
        return (
            f"{self.out}: {self.kept} clips kept, {self.refused} refused, {self.segments} segments, "
            f"{self.frames} frames, {self.seconds:.1f} s, {self.shards} shard{'s' * (self.shards != 1)}"
        )


def preprocess(
    *,
    source: Path,
    out: Path,
    image_size: int = 192,
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    detect_every: int = 5,
    segment_s: float = 10.0,
    min_s: float = 0.6,
    val_share: float = 0.1,
    split: Literal["auto", "speaker", "time"] = "auto",
    workers: int = 0,
    seed: int = 0,
) -> Summary:
    """Turn videos into shards: every frame's face cropped, the speech beside it, on one clock.

    ``source`` is a video or a folder of videos; where it has subfolders each is a speaker. ``out`` receives the
    shards, ``manifest.json``, and ``report.html``, which shows every clip and why it was kept or refused. Clips are
    cut into segments of at most ``segment_s`` seconds (none shorter than ``min_s``), frames are resampled to 25 fps
    and crops are ``image_size`` px. The face is looked for every ``detect_every`` frames. ``val_share`` is held out
    for validation, by speaker, or by time where there is only one. ``workers`` is the number of processes, 0 for one
    per core. A finished set of the same files and arguments is left as it is.
    """
    settings = _check(image_size, detector, detect_every, segment_s, min_s, val_share, workers)
    source, out = Path(source), Path(out)
    sources = find_sources(source)
    found = make_detector(settings.detector).name  # a missing model is one sentence here, not one per clip
    recipe = {**asdict(settings), "detector": found, "val_share": val_share, "split": split, "seed": seed}
    made_from = _fingerprint(sources, recipe)
    finished = _finished(out, made_from)
    if finished is not None:
        print(f"{finished}; already made from these files and arguments")
        return finished
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "parts").mkdir(parents=True)
        summary = _build(sources, settings, partial, out, val_share, split, workers, seed, made_from, recipe)
        _move_into_place(partial, out)
    except OSError as error:
        raise ShardError(
            f"out={out} cannot be written ({error}). Check the folder, its rights and the disk."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(summary)
    return summary


def _build(
    sources: list[Source], settings: ClipSettings, partial: Path, out: Path, val_share: float,
    split: Literal["auto", "speaker", "time"], workers: int, seed: int, made_from: str, recipe: dict[str, Any],
) -> Summary:  # fmt: skip
    results = _process_all(sources, settings, partial / "parts", workers)
    kept = [result for result in results if result.is_kept]
    if sum(len(result.segments) for result in kept) == 1:  # nothing to hold out: cut the only segment in two
        number = results.index(kept[0])
        halved = process_clip(sources[number], _halving(settings), partial / "halves")
        if len(halved.segments) > 1:
            results[number], kept = halved, [halved]
    if not kept:
        raise MediaError(_nothing_kept(sources, results))
    parts = [Part(s.key, result.speaker, s.num_frames) for result in results for s in result.segments]
    splits = assign_splits(parts, split, val_share, seed)
    if "val" not in splits:
        print(
            f"{out}: {parts[0].num_frames} frames are too few to hold any out; there is no val clip.", file=sys.stderr
        )
    writer = ShardSetWriter(partial, settings.image_size, mel_config_hash())
    segments = [segment for result in results for segment in result.segments]
    for segment, part, side in zip(segments, parts, splits, strict=True):
        members = {path.name: path.read_bytes() for path in segment.folder.iterdir()}
        writer.add(members, key=part.key, speaker=part.speaker, split=side, num_frames=part.num_frames)
        shutil.rmtree(segment.folder)
    frames = sum(part.num_frames for part in parts)
    counts = {"kept": len(kept), "refused": len(results) - len(kept)}
    manifest = writer.close({"made_from": made_from, "recipe": recipe, "sources": counts})
    for folder in ("parts", "halves"):
        shutil.rmtree(partial / folder, ignore_errors=True)
    summary = Summary(**counts, segments=len(parts), frames=frames, seconds=frames / FPS,
                      shards=len(manifest["shards"]), out=str(out))  # fmt: skip
    write_report(partial, results, {**asdict(summary), "splits": manifest["splits"], "line": str(summary)})
    for result in results:
        if not result.is_kept:
            print(f"refused {result.source}: {result.reason}", file=sys.stderr)
    return summary


def _process_all(sources: list[Source], settings: ClipSettings, parts_dir: Path, workers: int) -> list[ClipResult]:
    """One result per source, in their order."""
    progress = Progress(len(sources))
    results: dict[int, ClipResult] = {}
    work = functools.partial(process_clip, settings=settings, parts_dir=parts_dir)
    frames = 0
    for i, result in run_all(work, sources, num_workers(workers, len(sources)), _crashed):
        results[i] = result
        frames += result.facts.get("frames", 0)
        progress.show(len(results), frames)
    return [results[i] for i in range(len(sources))]


def _crashed(source: Source) -> ClipResult:
    reason = f"{source.path}: its process died while reading it. It is damaged, or memory ran out: try workers=1."
    return ClipResult(source.name, source.speaker, reason=reason)


def _halving(settings: ClipSettings) -> ClipSettings:
    return ClipSettings(**{**asdict(settings), "min_segments": 2})


def _nothing_kept(sources: list[Source], results: list[ClipResult]) -> str:
    if len(results) == 1:
        return results[0].reason
    reasons = "; ".join(result.reason for result in results[:3])
    return f"None of {len(sources)} clips could be used. {reasons}{' ...' if len(results) > 3 else ''}"


def _check(
    image_size: int, detector: Any, detect_every: int, segment_s: float, min_s: float, val_share: float, workers: int
) -> ClipSettings:
    if not 32 <= image_size <= 1024:
        raise ConfigError(f"image_size={image_size} is no size of a crop. Give 32 to 1024, for example 96 or 192.")
    if detect_every < 1:
        raise ConfigError(f"detect_every={detect_every} is no number of frames. Give 1 or more.")
    if not 0 < val_share < 1:
        raise ConfigError(f"val_share={val_share} leaves one side empty. Give a share between 0 and 1.")
    if workers < 0:
        raise ConfigError(f"workers={workers} is negative. Give 0 for one per core, or a number of processes.")
    min_frames, max_frames = round(min_s * FPS), round(segment_s * FPS)
    if min_frames < WINDOW_FRAMES:
        raise ConfigError(f"min_s={min_s} is {min_frames} frames, a window needs {WINDOW_FRAMES}. Give 0.2 or more.")
    if max_frames < 2 * min_frames:
        raise ConfigError(f"segment_s={segment_s} is less than twice min_s={min_s}. Raise it, or lower min_s.")
    return ClipSettings(image_size, detector, detect_every, max_frames, min_frames)


def _fingerprint(sources: list[Source], recipe: dict[str, Any]) -> str:
    """A hash of what goes in: names, sizes and times of the files, the arguments, and the versions of the code."""
    files = []
    for source in sources:
        for path in filter(None, (source.path, source.truth_path)):
            state = path.stat()
            files.append((source.name, path.name, state.st_size, state.st_mtime_ns))
    text = json.dumps([RECIPE_VERSION, mel_config_hash(), recipe, files])
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(out: Path, made_from: str) -> Summary | None:
    """The summary of ``out`` where it is whole and made from the same; ``out`` is refused where it is not ours."""
    if not out.exists():
        return None
    strangers = [] if out.is_dir() else [out.name]
    if out.is_dir():
        strangers = sorted(path.name for path in out.iterdir() if not path.name.startswith(OWN_NAMES))
    if strangers:
        raise ShardError(
            f"out={out} holds other things ({', '.join(strangers[:3])}), and would be replaced. Give a new folder."
        )
    try:
        manifest = ShardSet(out).manifest
    except ShardError:
        return None
    if manifest.get("made_from") != made_from:
        return None
    return Summary(
        **manifest["sources"],
        segments=manifest["num_clips"],
        frames=manifest["num_frames"],
        seconds=manifest["num_frames"] / FPS,
        shards=len(manifest["shards"]),
        out=str(out),
    )


def _move_into_place(partial: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)
