"""`anchor shards merge`: several sets, of this format or an older one, to one new set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anchor.errors import ConfigError, DamagedError, ShardError

if TYPE_CHECKING:
    from anchor.shards.progress import Progress
    from anchor.shards.reader import ShardSet
    from anchor.shards.writer import ShardSetWriter

__all__ = ["copy_clips", "merge"]


def merge(
    source: tuple[str, ...],
    *,
    out: Path,
    codec: Literal["keep", "jpeg", "h264"] = "keep",
    prefix: bool = False,
    damaged: Literal["stop", "skip"] = "stop",
    shard_mb: int = 256,
) -> None:
    """Copy the clips of one or several sets into one new set; also the way from an older format to this one.

    source: folders or addresses, as [A,B]. All must have the same image_size and mel parameters. Every byte is
    checked as it is read, and nothing is encoded anew unless codec= says so. A speaker's name means the same person
    in every set. Two clips of the same key are refused; prefix=true writes each key as SET/KEY. damaged=skip leaves
    out clips that cannot be read and names them. out appears whole or not at all.

    Raises:
        ConfigError: nothing to merge, or an impossible size.
        ShardError: a set is unusable or damaged, the sets do not fit together, or ``out`` exists or cannot be written.
    """
    from anchor.shards.manifest import STANDARD_KEYS
    from anchor.shards.progress import Progress, counted
    from anchor.shards.reader import ShardSet
    from anchor.shards.target import new_set
    from anchor.shards.writer import ShardSetWriter

    if not source or shard_mb < 1:
        raise ConfigError(
            "source= names no set. Give one or several: source=[A,B]." if not source else
            f"shard_mb={shard_mb} holds nothing. Give 1 or more."
        )  # fmt: skip
    sets = [ShardSet(path, any_mel=True, any_version=True, check=damaged == "stop") for path in source]
    _expect_alike(sets)
    target = sets[0].codec if codec == "keep" else codec
    names = _names(sets) if prefix else [""] * len(sets)
    if not prefix:
        _expect_other_keys(sets)
    progress = Progress("merge", sum(one.manifest["num_bytes"] for one in sets))
    needed = sum(one.manifest["num_bytes"] for one in sets if one.codec == target)
    with new_set(out, needed) as folder:
        first = sets[0].manifest
        writer = ShardSetWriter(folder, first["image_size"], first["mel_config_hash"], shard_mb * 2**20, target)  # type: ignore[arg-type]
        try:
            skipped = [
                error
                for one, name in zip(sets, names, strict=True)
                for error in copy_clips(one, range(len(one.clips)), writer, name, damaged == "skip", progress)
            ]
            origins = [{key: one.manifest[key] for key in one.manifest if key not in STANDARD_KEYS} for one in sets]
            if len(skipped) == sum(len(one.clips) for one in sets):
                raise skipped[0] if skipped else ShardError(f"{sets[0].url} holds no clip. There is nothing to merge.")
            manifest = writer.close(
                {"merged_from": [{"identity": one.identity, **own} for one, own in zip(sets, origins, strict=True)]}
            )
        except BaseException:
            writer.abort()
            raise
    for error in skipped:
        print(f"left out: {error}")
    given = sum(len(one.clips) for one in sets)
    print(
        f"{out}: {manifest['num_clips']} of {counted(given, 'clip')} from {counted(len(sets), 'set')}, {len(skipped)} "
        f"left out, {manifest['num_frames']} frames, {manifest['num_bytes']} bytes, "
        f"{counted(len(manifest['shards']), 'shard')}"
    )
    _warn_of_both_sides(sets)


def copy_clips(
    source: ShardSet,
    numbers: Sequence[int],
    writer: ShardSetWriter,
    prefix: str = "",
    skip_damaged: bool = False,
    progress: Progress | None = None,
) -> list[DamagedError]:
    """Copy the numbered clips, each byte checked; returns what was left out for its damage."""
    skipped = []
    for number in numbers:
        clip = source.clips[number]
        try:
            if source.codec == writer.codec:
                members = source.read_members(number)
            else:
                members = _encode_again(source, number, writer)
        except DamagedError as error:
            if not skip_damaged:
                raise
            skipped.append(error)
            continue
        key = f"{prefix}{clip.key}"
        writer.add(members, key=key, speaker=clip.speaker, split=clip.split, num_frames=clip.num_frames)
        if progress is not None:
            progress.add(sum(map(len, members.values())))
    return skipped


def _encode_again(source: ShardSet, number: int, writer: ShardSetWriter) -> dict[str, bytes]:
    """The members of a clip with its frames in the writer's codec; speech and description stay byte for byte."""
    from anchor.shards.members import AUDIO, MEL, META
    from anchor.shards.writer import encode_frames

    clip = source.clips[number]
    pictures = source.read_frames(clip, range(clip.num_frames))
    kept = {name: bytes(source.read_member(number, name)) for name in (AUDIO, MEL, META)}
    return {**encode_frames(list(pictures), writer.codec), **kept}


def _expect_alike(sets: Sequence[ShardSet]) -> None:
    for one in sets[1:]:
        for name, what in (("image_size", "crops of {} pixels"), ("mel_config_hash", "mel parameters {}")):
            mine, theirs = sets[0].manifest[name], one.manifest[name]
            if mine != theirs:
                raise ShardError(
                    f"{one.url} has {what.format(theirs)}, {sets[0].url} has {what.format(mine)}: these cannot be one "
                    "set. Run `anchor preprocess` on one of the sources again with the other's settings."
                )


def _expect_other_keys(sets: Sequence[ShardSet]) -> None:
    owners: dict[str, str] = {}
    twice = []
    for one in sets:
        for key in one.clips.keys():  # noqa: SIM118  # a method that makes a list
            if key in owners:
                twice.append((key, owners[key], one.url))
            owners[key] = one.url
    if twice:
        key, first, second = twice[0]
        more = f", and {len(twice) - 1} more keys" if len(twice) > 1 else ""
        raise ShardError(
            f"clip {key!r} is in {first} and in {second}{more}. Give prefix=true to write each key as SET/KEY, or "
            "leave one set out."
        )


def _names(sets: Sequence[ShardSet]) -> list[str]:
    """``SET/`` for each: its folder's name, numbered where several are called the same."""
    plain = [one.url.rpartition("/")[2].replace(".", "_") or "set" for one in sets]
    count = Counter(plain)
    return [f"{name}{f'-{number}' if count[name] > 1 else ''}/" for number, name in enumerate(plain)]


def _warn_of_both_sides(sets: Sequence[ShardSet]) -> None:
    sides: dict[str, set[str]] = {}
    homes: dict[str, set[str]] = {}
    for one in sets:
        pairs = set(zip(one.clips.speaker_numbers.tolist(), one.clips.split_numbers.tolist(), strict=True))
        for speaker, split in pairs:
            sides.setdefault(one.clips.speakers[speaker], set()).add(one.clips.splits[split])
            homes.setdefault(one.clips.speakers[speaker], set()).add(one.url)
    both = sorted(name for name, found in sides.items() if len(found) > 1 and len(homes[name]) > 1)
    if both:
        print(
            f"{len(both)} speakers are in several sets and on both sides of the split, the first is {both[0]!r}: a "
            "score on val then does not speak of unseen people"
        )
