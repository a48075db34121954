"""The command `anchor preprocess`: videos in, a set of shards out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args

from anchor.errors import ConfigError, MediaError, ShardError
from anchor.faces import DetectorName
from anchor.files import printable
from anchor.media import check_ffmpeg_args, find_ffmpeg
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.assembly import Summary, assemble
from anchor.preprocess.cleaning.limits import Limits
from anchor.preprocess.clip import load_detector
from anchor.preprocess.cluster import import_ray
from anchor.preprocess.page import MAX_PICTURED, worst_first
from anchor.preprocess.pool import Progress, num_workers, run_all
from anchor.preprocess.results import ClipResult
from anchor.preprocess.selection import DuplicatesName, Selection, same_files, select
from anchor.preprocess.settings import (
    AlignName,
    ClipSettings,
    CodecName,
    DecoderName,
    DeviceName,
    FacesName,
    NoMatchName,
    OffsetName,
    SwitchName,
    check_settings,
)
from anchor.preprocess.sources import Source, find_sources
from anchor.preprocess.splits import SplitName
from anchor.preprocess.watch import HANG_S
from anchor.preprocess.work import RECIPE_VERSION, FinishedClips, WorkFolder, file_states
from anchor.shards import ShardSet
from anchor.timing import FPS

__all__ = ["ExecutorName", "Summary", "preprocess"]

ExecutorName = Literal["local", "ray"]

OWN_NAMES = ("manifest.json", "report.json", "report.html", "report.parquet", "shard-")


def preprocess(
    *,
    source: Path,
    out: Path,
    image_size: int = 192,
    faces: FacesName = "largest",
    faces_device: DeviceName = "cpu",
    detector: DetectorName = "auto",
    detect_every: int = 5,
    segment_s: float = 10.0,
    min_s: float = 0.6,
    shots: SwitchName = "on",
    align: AlignName = "off",
    offset: OffsetName = "correct",
    on_no_match: NoMatchName = "refuse",
    min_face_px: float | None = 32,
    min_sharpness: float | None = 0.2,
    min_luma: float | None = 30,
    max_luma: float | None = 240,
    min_contrast: float | None = 20,
    max_yaw: float | None = 40,
    max_pitch: float | None = 30,
    max_roll: float | None = 30,
    min_speech_db: float | None = -50,
    max_silence: float | None = 0.9,
    silent_quota: float = 0.05,
    duplicates: DuplicatesName = "drop",
    codec: CodecName = "jpeg",
    media_decoder: DecoderName = "auto",
    media_ffmpeg_args: tuple[str, ...] = (),
    val_share: float = 0.1,
    split: SplitName = "auto",
    hold_out_s: float = 0.0,
    workers: int = 0,
    executor: ExecutorName = "local",
    seed: int = 0,
) -> Summary:
    """Turn videos into shards: every frame's face cropped, the speech beside it, on one clock.

    ``source`` is a video or a folder of videos; where it has subfolders each is a speaker. ``out`` receives the
    shards, ``manifest.json``, and ``report.html``, which shows every clip and why it was kept or refused
    (``report.parquet`` has a row per segment). Clips are cut at shot changes (``shots``) and into segments of at most
    ``segment_s`` seconds (none shorter than ``min_s``), frames are resampled to 25 fps and crops are ``image_size``
    px. ``faces`` says whose: largest is one face at any time, the largest and most lasting; all is every face that
    lasts, each with segments and a speaker of its own; speaking is, at any time, only the face whose mouth moves with
    the sound. The face is looked for every ``detect_every`` frames; ``align=affine`` lays it upright, with eyes and
    mouth always at the same places. ``offset`` measures how late the sound is and shifts it; a face that the sound
    does not belong to is refused (``on_no_match``).

    A segment beyond one of the limits is left out; none or 0 is no limit. Of segments more silent than
    ``max_silence``, those with the mouth at rest are kept up to ``silent_quota`` of the kept time. Of ``duplicates``,
    also in another encoding or size, the second is left out. ``val_share`` is held out for validation, by speaker, or
    by time where there is only one. ``hold_out_s`` holds out the last seconds of every clip instead, of short clips the
    last third. ``workers`` is the number of processes, 0 for one per core. ``executor=ray`` takes
    the cores of a Ray cluster: that of RAY_ADDRESS, one that runs here, or one made for this; all its machines must
    see ``source`` and ``out`` under the same paths. A finished set of the same files and arguments is left as it is; a
    run that was stopped goes on with the same command, from the clips that are done.
    """
    limits = Limits(
        min_sharpness, min_luma, max_luma, min_contrast, min_face_px, max_yaw, max_pitch, max_roll, min_speech_db,
        max_silence,
    )  # fmt: skip
    settings = check_settings(
        image_size, detector, detect_every, segment_s, min_s, faces=faces, shots=shots, align=align, limits=limits,
        offset=offset, on_no_match=on_no_match, decoder=media_decoder, ffmpeg_args=media_ffmpeg_args,
        faces_device=faces_device, codec=codec, hold_out_s=hold_out_s,
    )  # fmt: skip
    selection = Selection(duplicates, silent_quota, seed)
    _check(val_share, workers, executor)
    if hold_out_s and split == "speaker":
        raise ConfigError(
            f"hold_out_s={hold_out_s:g} holds out the end of every clip, split=speaker whole speakers. Give one."
        )
    source, out = Path(source), Path(out).absolute() if str(out) in (".", "..") else Path(out)
    sources = find_sources(source)
    found = load_detector(settings).name  # a missing model, card or program is one sentence here, not one per clip
    if media_decoder == "ffmpeg":
        find_ffmpeg()
        check_ffmpeg_args(media_ffmpeg_args)
    elif media_ffmpeg_args:
        raise ConfigError(
            f"media.ffmpeg_args={','.join(media_ffmpeg_args)} is for media.decoder=ffmpeg, and this run has "
            f"media.decoder={media_decoder}. Add media.decoder=ffmpeg."
        )
    settings = replace(settings, detector=found)  # type: ignore[arg-type]
    recipe = {**asdict(settings), **asdict(selection), "val_share": val_share, "split": split}
    made_from = _fingerprint(sources, recipe)
    finished = _finished(out, made_from)
    if finished is not None:
        print(f"{finished}; already made from these files and arguments")
        return finished
    with WorkFolder(out) as work:
        try:
            results, folders = _process_all(sources, settings, selection, work.finished, workers, executor)
            if not any(result.is_kept for result in results):
                work.remove()
                raise MediaError(_nothing_kept(sources, results))
            origin = {"made_from": made_from, "recipe": recipe}
            target = work.path / "set"
            summary = assemble(target, out, results, folders, settings, split, val_share, seed, origin)
            _move_into_place(target, out, work.path / "old")
        except KeyboardInterrupt:
            _say_what_is_left(work, len(sources))
            raise
        except (OSError, ShardError) as error:
            kept = f" {work.count()} of {len(sources)} clips are done and stay in {work.path}." if work.count() else ""
            raise ShardError(
                f"out={out} cannot be written: {_reason(error)}.{kept} "
                "Check the folder, its rights and the disk; the same command goes on."
            ) from error
        work.remove()
    for result in results:
        if not result.is_kept:
            print(f"refused {result.source}: {result.reason}", file=sys.stderr)
        elif len(results) == 1:
            for note in result.notes:
                print(f"{result.source}: {note}", file=sys.stderr)
    print(summary)
    return summary


def _process_all(
    sources: list[Source],
    settings: ClipSettings,
    selection: Selection,
    clips: FinishedClips,
    workers: int,
    executor: ExecutorName,
) -> tuple[list[ClipResult], list[Path]]:
    """One selected result and one folder per source, in their order."""
    results = same_files(sources, selection)
    copies = len(results)
    has_pictures_apart = len(sources) > MAX_PICTURED  # the report shows no more: they stay on disk until then
    keep = _without_pictures if has_pictures_apart else _as_it_is
    for number, source in enumerate(sources):
        done = clips.load(source, settings) if number not in results else None
        if done is not None:
            results[number] = keep(done)
    if len(results) > copies:
        print(f"preprocess: {len(results) - copies} of {len(sources)} clips were done before", file=sys.stderr)
    left = [number for number in range(len(sources)) if number not in results]
    progress, frames = Progress(len(left)), 0
    todo = [sources[number] for number in left]
    with contextlib.closing(_make_all(todo, settings, clips, workers, executor)) as made:
        for done_count, (i, result) in enumerate(made, 1):
            results[left[i]] = keep(result)
            frames += round(FPS * result.facts.get("seconds", 0))
            progress.show(done_count, frames)
    ordered = [results[number] for number in range(len(sources))]
    folders = [clips.folder(source, settings) for source in sources]
    selected = select(ordered, selection)
    if (
        not settings.hold_out_frames and sum(len(result.kept_segments) for result in selected) == 1
    ):  # nothing to hold out: cut the only one in two
        number = next(i for i, result in enumerate(selected) if result.is_kept)
        halving = replace(settings, min_segments=2)
        ordered[number] = clips.load(sources[number], halving) or clips.make(sources[number], halving)
        halved = select(ordered, selection)
        if sum(len(result.kept_segments) for result in halved) > 1:
            selected, folders[number] = halved, clips.folder(sources[number], halving)
    selected = [replace(result, fingerprint={}) for result in selected]  # told what it knew, and large
    for number in worst_first(selected)[:MAX_PICTURED] if has_pictures_apart else ():
        saved = clips.load(sources[number], settings)
        if saved is not None:
            selected[number] = replace(selected[number], thumbnails=saved.thumbnails)
    return selected, folders


def _without_pictures(result: ClipResult) -> ClipResult:
    return replace(result, thumbnails=[])


def _as_it_is(result: ClipResult) -> ClipResult:
    return result


def _make_all(
    sources: Sequence[Source], settings: ClipSettings, clips: FinishedClips, workers: int, executor: ExecutorName
) -> Generator[tuple[int, ClipResult], None, None]:
    """``(i, result)`` as the clips are finished."""
    if executor == "local":
        work = functools.partial(clips.make, settings=settings)
        return run_all(work, sources, num_workers(workers, len(sources)), _crashed)
    from anchor.preprocess.on_ray import make_on_ray

    return make_on_ray(sources, settings, clips, workers, _crashed)


def _crashed(source: Source) -> ClipResult:
    reason = (
        f"{printable(str(source.path))}: its process died or stood still for {HANG_S:.0f} s while reading it. "
        "It is damaged, or memory ran out: try workers=1."
    )
    return ClipResult(source.name, source.speaker, reason=reason, is_settled=False)


def _say_what_is_left(work: WorkFolder, total: int) -> None:
    done = work.count()
    what = f"{done} of {total} clips are done and stay in {work.path}" if done else "no clip was done yet"
    print(f"\npreprocess: stopped; {what}. The same command goes on.", file=sys.stderr)


def _nothing_kept(sources: list[Source], results: list[ClipResult]) -> str:
    if len(results) == 1:
        return results[0].reason
    reasons = "; ".join(result.reason for result in results[:3])
    return f"None of {len(sources)} clips could be used. {reasons}{' ...' if len(results) > 3 else ''}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _check(val_share: float, workers: int, executor: str) -> None:
    if not 0 < val_share < 1:
        raise ConfigError(f"val_share={val_share} leaves one side empty. Give a share between 0 and 1.")
    if workers < 0:
        raise ConfigError(f"workers={workers} is negative. Give 0 for one per core, or a number of processes.")
    if executor not in get_args(ExecutorName):
        raise ConfigError(f"executor={executor} is not a choice. Choose one of {', '.join(get_args(ExecutorName))}.")
    if executor == "ray":
        import_ray()  # where it is missing this is said at once


def _fingerprint(sources: list[Source], recipe: dict[str, Any]) -> str:
    """A hash of what goes in: names, sizes and times of the files, the arguments, and the versions of the code."""
    text = json.dumps([RECIPE_VERSION, mel_config_hash(), recipe, file_states(sources)])
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


def _move_into_place(target: Path, out: Path, old: Path) -> None:
    if out.exists():
        out.rename(old)
    target.rename(out)
