"""What can be told of a set before it is read: are its files there, whole, its own, and no others?"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anchor.errors import ShardError
from anchor.shards.folder import Folder, read_fetched
from anchor.shards.members import index_name, split_name

__all__ = ["find_problems", "join_problems"]

THREADS = 16  # for places where a request takes long
SHOWN = 3  # problems that are named


def find_problems(folder: Folder, shards: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """``(file, sentence)`` for each file of the set that is missing, too many, or not what was written.

    Costs a look at every file, the first bytes of every shard, and the indexes; a swapped pair of equal size is found.
    """
    expected = {shard["name"]: shard["bytes"] for shard in shards}
    expected.update({index_name(shard["name"]): shard["index_bytes"] for shard in shards})
    sizes = folder.sizes(list(expected))
    problems = []
    for name, size in expected.items():
        if sizes[name] is None:
            problems.append((name, "is missing; the manifest lists it"))
        elif sizes[name] != size:
            problems.append((name, f"has {sizes[name]} bytes, the manifest says {size}"))
    bad = {name for name, _ in problems}
    for name in sorted(set(folder.names() or ()) - set(expected)):
        if name.startswith("shard-") and name.endswith((".tar", ".idx")):
            problems.append((name, "is not of this set: the manifest does not list it"))
    whole = [shard for shard in shards if shard["name"] not in bad]
    with ThreadPoolExecutor(THREADS) as pool:
        heads = pool.map(lambda shard: _look_at_head(folder, shard), whole)
        problems += [problem for problem in heads if problem]
        indexed = [shard for shard in shards if index_name(shard["name"]) not in bad]
        indexes = pool.map(lambda shard: _look_at_index(folder, shard), indexed)
        problems += [problem for problem in indexes if problem]
    return problems


def join_problems(url: str, problems: Sequence[tuple[str, str]]) -> str:
    """One message: the first three by name, and how many more there are."""
    named = "; ".join(f"{url.rstrip('/')}/{name} {what}" for name, what in problems[:SHOWN])
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    count = f"{len(problems)} files are wrong: " if len(problems) > 1 else ""
    extra = all("not of this set" in what for _, what in problems)
    return f"{count}{named}{more}. {'Take it away.' if extra else 'Copy what is wrong again.'}"


def _look_at_head(folder: Folder, shard: dict[str, Any]) -> tuple[str, str] | None:
    try:
        head = folder.read_range(shard["name"], 0, shard["head_bytes"])
    except (FileNotFoundError, ShardError) as error:
        return shard["name"], f"cannot be read ({error})"
    if zlib.crc32(head) == shard["head_crc"]:
        return None
    return shard[
        "name"
    ], f"{_describe_head(head)}, not as this shard was written: it was exchanged with another, or is damaged"


def _describe_head(head: bytes) -> str:
    if not any(head[: tarfile.BLOCKSIZE]):
        return "begins with zeros"
    try:
        with tarfile.open(fileobj=io.BytesIO(head + bytes(1024))) as tar:
            first = tar.next()
    except tarfile.TarError:
        return "does not begin with a tar header"
    return f"begins with {split_name(first.name)[0]!r}" if first else "holds nothing"


def _look_at_index(folder: Folder, shard: dict[str, Any]) -> tuple[str, str] | None:
    name = index_name(shard["name"])
    try:
        data = read_fetched(folder, name, shard["index_bytes"], shard["index_sha256"])
    except (OSError, ShardError) as error:
        return name, f"cannot be read ({error})"
    return (
        None
        if hashlib.sha256(data).hexdigest() == shard["index_sha256"]
        else (name, "is not the index that was written")
    )
