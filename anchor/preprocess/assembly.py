"""Finished clips to one set: who validates, the shards, the report."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anchor.ops.mel import mel_config_hash
from anchor.preprocess.report import write_report
from anchor.preprocess.results import ClipResult
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.splits import Part, SplitName, assign_splits
from anchor.shards import ShardSetWriter
from anchor.timing import FPS

__all__ = ["Summary", "assemble"]


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
    offsets: Mapping[str, int] = field(default_factory=dict)  # clips by what was found of their sound's offset

    def __str__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.offsets.items())
        return (
            f"{self.out}: {self.kept} clips kept, {self.refused} refused, {self.segments} segments, "
            f"{self.frames} frames, {self.seconds:.1f} s, {self.shards} shard{'s' * (self.shards != 1)}"
            f"{'; offset of the sound: ' * bool(found)}{found}"
        )


def count_offsets(results: Sequence[ClipResult]) -> dict[str, int]:
    """Clips by what became of the offset of their sound; those where none was measured are left out."""
    counts = dict.fromkeys(("corrected", "left as it is", "not established", "no match"), 0)
    for result in results:
        offset = result.facts.get("offset", {})
        status = offset.get("status")
        if status == "established":
            counts["corrected" if offset["corrected_ms"] else "left as it is"] += 1
        elif status in counts:
            counts[status] += 1
    return {name: count for name, count in counts.items() if count}


def assemble(
    target: Path, out: Path, results: Sequence[ClipResult], folders: Sequence[Path], settings: ClipSettings,
    split: SplitName, val_share: float, seed: int, origin: dict[str, Any],
) -> Summary:  # fmt: skip
    """Write the set into the new folder ``target``, which will become ``out``.

    ``results`` are selected; ``folders`` holds the finished clip of each; ``origin`` goes into the manifest.
    """
    target.mkdir(parents=True)
    segments = [
        (segment, folder) for result, folder in zip(results, folders, strict=True) for segment in result.kept_segments
    ]
    parts = [Part(segment.key, segment.speaker, segment.num_frames) for segment, _ in segments]
    if settings.hold_out_frames:
        splits = ["val" if segment.is_held_out else "train" for segment, _ in segments]
    else:
        splits = assign_splits(parts, split, val_share, seed)
    if settings.hold_out_frames and len(set(splits)) == 1:
        side = "train" if splits[0] == "val" else "val"
        print(
            f"{out}: hold_out_s={settings.hold_out_frames / FPS:g} left no {side} clip: no usable face or too few "
            "frames on that side. Give other seconds, or split=time.",
            file=sys.stderr,
        )
    elif "val" not in splits:
        print(
            f"{out}: {parts[0].num_frames} frames are too few to hold any out; there is no val clip.", file=sys.stderr
        )
    if len({part.speaker for part in parts}) == 1 and len(set(splits)) == 2:
        held_out_s = sum(part.num_frames for part, side in zip(parts, splits, strict=True) if side == "val") / FPS
        print(
            f"{out}: one speaker. {held_out_s:.1f} s are held out by time: new words of a known face. How a stranger "
            "would fare cannot be said from it.",
            file=sys.stderr,
        )
    extra: dict[str, Any] = {} if settings.codec == "jpeg" else {"codec": settings.codec}
    writer = ShardSetWriter(target, settings.image_size, mel_config_hash(), **extra)
    try:
        for (segment, folder), part, side in zip(segments, parts, splits, strict=True):
            members = {path.name: path.read_bytes() for path in (folder / segment.key).iterdir()}
            writer.add(members, key=part.key, speaker=part.speaker, split=side, num_frames=part.num_frames)
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # else the tar complains when it is collected
            writer.close()
        raise
    kept = sum(result.is_kept for result in results)
    counts: dict[str, Any] = {"kept": kept, "refused": len(results) - kept, "offsets": count_offsets(results)}
    manifest = writer.close({**origin, "sources": counts})
    frames = sum(part.num_frames for part in parts)
    summary = Summary(**counts, segments=len(parts), frames=frames, seconds=frames / FPS,
                      shards=len(manifest["shards"]), out=str(out))  # fmt: skip
    sides = {part.key: side for part, side in zip(parts, splits, strict=True)}
    totals = {**asdict(summary), "splits": manifest["splits"], "line": str(summary)}
    write_report(target, results, totals, settings, sides)
    return summary
