"""`anchor shards stat`: what a set holds, in one table, without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anchor.shards.reader import ShardSet

__all__ = ["stat"]

LOOKED_AT = 500  # descriptions that are read for silence and offset, spread over the set


def stat(path: str) -> None:
    """Clips, hours, speakers, splits, sizes, silence and offsets of a set, in one table.

    path: a folder, or an address such as s3://bucket/set. Counts come from the manifest; silence and offset are read
    from at most 500 clips spread over the set.

    Raises:
        ShardError: the set is not usable.
    """
    from anchor.shards.reader import ShardSet

    source = ShardSet(path, any_mel=True)
    rows = {**_counts(source), **_described(source)}
    width = max(map(len, rows))
    print(source.url)
    print("\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items()))


def _counts(source: ShardSet) -> dict[str, str]:
    from anchor.shards.progress import counted, megabytes
    from anchor.timing import FPS

    manifest, clips = source.manifest, source.clips
    frames = clips.num_frames
    per_speaker = np.bincount(clips.speaker_numbers, frames, len(clips.speakers)) / FPS
    shards = [shard["bytes"] for shard in manifest["shards"]]
    total = manifest["num_frames"]
    return {
        "format": f"{manifest['format_version']}, codec {manifest['codec']}, {manifest['image_size']} px, "
        f"mel {manifest['mel_config_hash']}",
        "identity": source.identity,
        "clips": f"{len(clips)}" + (f", {_spread(frames / FPS, 's')}" if len(clips) else ""),
        "length": f"{total / FPS / 3600:.2f} h, {total} frames",
        "speakers": f"{len(clips.speakers)}" + (f", {_spread(per_speaker, 's')} each" if len(clips) else ""),
        **{
            f"split {name}": f"{counted(counts['clips'], 'clip')}, {counts['frames'] / FPS / 3600:.2f} h, "
            f"{counted(len(np.unique(clips.speaker_numbers[clips.split_numbers == number])), 'speaker')}"
            for number, (name, counts) in enumerate(manifest["splits"].items())
        },
        "shards": f"{len(shards)}, {megabytes(sum(shards))}"
        + (f", largest {megabytes(max(shards))}, {sum(shards) / total:.0f} bytes per frame" if total else ""),
    }


def _described(source: ShardSet) -> dict[str, str]:
    chosen = np.unique(np.linspace(0, len(source.clips) - 1, min(LOOKED_AT, len(source.clips))).round().astype(int))
    metas: list[dict[str, Any]] = [source.read_meta(source.clips[int(number)]) for number in chosen]
    rows = {}
    for title, name, unit in (("silence", "silence_share", "%"), ("offset", "offset_ms", "ms")):
        found = [meta[name] for meta in metas if isinstance(meta.get(name), (int, float))]
        scale = 100 if unit == "%" else 1
        of = f", in {len(found)} of {len(source.clips)} clips" if len(found) < len(source.clips) else ""
        rows[title] = f"{_spread(np.array(found) * scale, unit)}{of}" if found else "not described"
    return rows


def _spread(values: np.ndarray, unit: str) -> str:
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{low:.1f} to {high:.1f} {unit}, median {middle:.1f}"
