"""`anchor shards split`: one set to several, by speaker, by side or into equal parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from anchor.errors import ConfigError

if TYPE_CHECKING:
    from anchor.shards.reader import ShardSet

__all__ = ["split"]


def split(
    source: str, *, out: Path, by: Literal["speaker", "split", "parts"], parts: int | None = None, shard_mb: int = 256
) -> None:
    """Copy a set into several sets below out, every byte checked and every clip in exactly one of them.

    by=speaker makes one set for each person, by=split one for train and one for val, by=parts parts=N makes N with
    about equally many frames, in the order of the set. The same set is always split the same way. out appears whole
    or not at all.

    Raises:
        ConfigError: ``parts`` is missing, given in vain, or more than there are clips.
        ShardError: the set is unusable or damaged, or ``out`` exists or cannot be written.
    """
    from anchor.shards.merge import copy_clips
    from anchor.shards.progress import Progress, counted
    from anchor.shards.reader import ShardSet
    from anchor.shards.target import new_set
    from anchor.shards.writer import ShardSetWriter

    if (by == "parts") != (parts is not None):
        raise ConfigError(f"by={by} {'needs parts=N' if by == 'parts' else 'takes no parts='}. See --help.")
    shards = ShardSet(source, any_mel=True)
    groups = _group(shards, by, 1 if parts is None else parts)
    total = shards.manifest["num_bytes"]
    progress = Progress("split", total)
    lines = []
    with new_set(out, total) as folder:
        for name, numbers in groups.items():
            (folder / name).mkdir()
            writer = ShardSetWriter(
                folder / name, shards.image_size, shards.manifest["mel_config_hash"], shard_mb * 2**20,
                shards.codec,  # type: ignore[arg-type]
            )  # fmt: skip
            try:
                copy_clips(shards, numbers.tolist(), writer, progress=progress)
                made = writer.close({"split_from": shards.identity, "part": name})
            except BaseException:
                writer.abort()
                raise
            lines.append(f"{out / name}: {counted(made['num_clips'], 'clip')}, {made['num_frames']} frames")
    counts = shards.manifest["num_clips"], shards.manifest["num_frames"]
    assert sum(len(numbers) for numbers in groups.values()) == counts[0]
    print("\n".join(lines))
    print(f"{out}: {counts[0]} of {counted(counts[0], 'clip')}, {counts[1]} frames, in {counted(len(groups), 'set')}")


def _group(shards: ShardSet, by: str, parts: int) -> dict[str, np.ndarray]:
    """The numbers of the clips of each new set, by the name of its folder."""
    clips = shards.clips
    if by == "parts":
        if not 1 <= parts <= len(clips):
            raise ConfigError(f"parts={parts}, but {shards.url} has {len(clips)} clips. Give 1 to {len(clips)}.")
        ends = np.cumsum(clips.num_frames.astype(np.int64))
        middles = ends - clips.num_frames / 2
        cuts = np.searchsorted(middles, ends[-1] * np.arange(1, parts) / parts)
        first = np.arange(1, parts)  # every part has a clip
        cuts = np.minimum(np.maximum.accumulate(np.maximum(cuts - first, 0)) + first, len(clips) - parts + first)
        width = len(str(parts - 1))
        return {f"part-{i:0{width}d}": numbers for i, numbers in enumerate(np.split(np.arange(len(clips)), cuts))}
    names, numbers = (clips.speakers, clips.speaker_numbers) if by == "speaker" else (clips.splits, clips.split_numbers)
    folders = _folders(names)
    chosen = {folder: np.flatnonzero(numbers == number) for number, folder in enumerate(folders)}
    return {folder: found for folder, found in chosen.items() if len(found)}


def _folders(names: tuple[str, ...]) -> list[str]:
    """A folder for each name: what a path cannot hold becomes ``_``, and what then is equal is numbered."""
    plain = [re.sub(r"[^\w-]", "_", name)[:100] or "_" for name in names]
    return [name if plain.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(plain)]
