"""`anchor shards verify`: read every byte of a set and say what is not as it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anchor.errors import ConfigError, DamagedError, ShardError
from anchor.shards.entries import describe_gap
from anchor.shards.members import MEMBERS, index_name
from anchor.shards.opening import find_problems
from anchor.shards.progress import Progress, counted

if TYPE_CHECKING:
    from anchor.shards.reader import ShardSet

__all__ = ["Damage", "find_damage", "verify"]

PIECE = 8 * 2**20  # bytes hashed at once
BLOCK = 512  # bytes, of a tar


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written; ``key`` and ``member`` are empty where it is a whole file."""

    file: str
    key: str
    member: str
    what: str

    def error(self, url: str) -> ShardError:
        """As the error that reading would raise."""
        where = f"{url}/{self.file}"
        if not self.key:
            return ShardError(f"{where} {self.what}.")
        message = f"{where}: clip {self.key!r}, {self.member} is damaged: {self.what}."
        return DamagedError(message, shard=where, key=self.key, member=self.member, what=self.what)


def verify(path: str, *, workers: int = 1) -> None:
    """Read every byte of a set of shards; what is damaged is listed by shard, clip and member.

    path: a folder, or an address such as s3://bucket/set. workers: shards read at a time. Ends with status 2 where
    anything is not as it was written.

    Raises:
        ConfigError: ``workers`` is below 1.
        ShardError: the set is damaged, or is none.
    """
    import tempfile

    from anchor.shards.cache import CacheSettings
    from anchor.shards.folder import LocalFolder
    from anchor.shards.reader import ShardSet

    if workers < 1:
        raise ConfigError(f"workers={workers} reads nothing. Give 1 or more.")
    source = ShardSet(path, any_mel=True, check=False)
    if isinstance(source.folder, LocalFolder):
        _verify(source, workers)
        return
    # What lies in the cache says nothing of what lies there: everything is fetched anew.
    place = CacheSettings().place
    place.mkdir(parents=True, exist_ok=True)
    room = (workers + 2) * max(
        (shard["bytes"] + shard["index_bytes"] for shard in source.manifest["shards"]), default=1
    )
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="anchor-verify-") as folder:
        _verify(ShardSet(path, CacheSettings(Path(folder), room), any_mel=True, check=False), workers)


def _verify(source: ShardSet, workers: int) -> None:
    progress = Progress("verify", source.manifest["num_bytes"])
    found: list[Damage] = []
    for damage in find_damage(source, workers, progress.add):
        if not found:
            print(f"{'file':<20} {'clip':<32} {'member':<16} what")
        found.append(damage)
        print(f"{damage.file:<20} {damage.key or '-':<32} {damage.member or '-':<16} {damage.what}", flush=True)
    clips = len(source.clips)
    members, num_bytes = clips * len(MEMBERS[source.codec]), source.manifest["num_bytes"]
    if found:
        bad_files = {d.file for d in found}
        bad_keys, files = {d.key for d in found if d.key}, {d.file for d in found if not d.key}
        for number, shard in enumerate(source.manifest["shards"]):
            if {shard["name"], index_name(shard["name"])} & files:  # a whole file: none of its clips is to be trusted
                bad_keys |= {source.clips.key(clip) for clip in source.clip_range(number)}
        raise ShardError(
            f"{source.url} is damaged: {counted(len(found), 'finding')} in {len(bad_files)} of "
            f"{2 * len(source.manifest['shards'])} files, {len(bad_keys)} of {counted(clips, 'clip')}. Copy these "
            f"files again; `anchor shards merge source={source.url} out=NEW damaged=skip` saves what is whole."
        )
    print(f"{source.url}: {counted(clips, 'clip')}, {members} members, {num_bytes} bytes: all as written")


def find_damage(source: ShardSet, workers: int = 1, progress: Callable[[int], None] | None = None) -> Iterator[Damage]:
    """Everything that is wrong with a set, in the order of its files."""
    shards = source.manifest["shards"]
    report = progress or (lambda _: None)
    problems = find_problems(source.folder, shards)
    for name, what in problems:
        yield Damage(name, "", "", what)
    bad = {name for name, _ in problems}  # said already
    gone = {name for name, what in problems if "is missing" in what}
    numbers = [number for number, shard in enumerate(shards) if shard["name"] not in gone]
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(lambda number: _check_shard(source, number, report, bad), numbers):
            yield from found


def _check_shard(source: ShardSet, number: int, progress: Callable[[int], None], bad: set[str]) -> list[Damage]:
    """What is wrong in one shard; it is read once, front to back."""
    from anchor.shards.claims import describe_claims

    entry = source.manifest["shards"][number]
    name = entry["name"]
    try:
        index = source.index(number)
    except ShardError as error:
        claim = str(error).removeprefix(f"{source.url}/").partition(" ")[2]
        return [] if index_name(name) in bad else [Damage(index_name(name), "", "", claim)]
    found: list[Damage] = []
    digest, end = hashlib.sha256(), 0
    for row, clip in enumerate(source.clip_range(number)):
        key, held, wrong = source.clips.key(clip), {}, {}
        for member in index.names:
            gap, begin, end = index.place(row, member)
            try:
                data = memoryview(source.files.read(number, gap, end - gap))
            except (OSError, ShardError) as error:
                return [*found, Damage(name, key, member, f"it cannot be read ({error})")]
            digest.update(data)
            progress(len(data))
            if len(data) < end - gap:
                wrong[member] = f"the file ends after {len(data)} of {end - gap} bytes"
                continue
            header, held[member] = data[: begin - gap], data[begin - gap :]
            what = index.check(row, member, header, held[member])
            what = what or describe_gap(header, -gap % BLOCK, f"{key}.{member}", end - begin)
            if what:
                wrong[member] = what
        wrong = wrong or describe_claims(held, int(source.clips.num_frames[clip]), source.image_size)
        found += [Damage(name, key, member, what) for member, what in wrong.items()]
    while rest := source.files.read(number, end, PIECE):  # the zeros at the end
        digest.update(rest)
        end += len(rest)
        progress(len(rest))
    if digest.hexdigest() != entry["sha256"] and not found and name not in bad:
        found.append(Damage(name, "", "", "is not the file that was written, though every member is"))
    return found
