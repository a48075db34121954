"""What child processes of the tests of remote shards do; importable, so that a fork server finds it."""

import os

from anchor.shards import ShardSet
from anchor.shards.cache import CacheSettings
from anchor.shards.remote import RemoteFolder
from anchor.shards.retries import Retries

QUICK = Retries(attempts=3, base_s=0.01, cap_s=0.02, connect_s=5, stall_s=0.4, grace_s=0.4, total_s=20)
PATIENT = Retries(attempts=3, base_s=0.01, cap_s=0.02, total_s=60)


def read_small(folder):
    """A small file and a range, through a folder that the parent made."""
    return folder.read("manifest.json"), folder.read_range("shard-000000.tar", 100, 50)


def read_all(source):
    """Everything that a set holds, in the order of its clips."""
    return [
        (source.read_frames(clip, range(clip.num_frames)), source.read_mel(clip), source.read_audio(clip), clip.key)
        for clip in source.clips
    ]


def read_set(url, cache_dir, max_bytes, rounds):
    """Read a whole set again and again with a cache of some size; the keys that were read."""
    source = ShardSet(url, CacheSettings(cache_dir, max_bytes))
    keys = []
    for _ in range(rounds):
        keys += [key for *_, key in read_all(source)]
        source.close()
    return keys


def fetch_all(url, cache_dir, wanted):
    """The paths of fetched files; ``wanted`` has (name, size, sha256)."""
    folder = RemoteFolder(url, CacheSettings(cache_dir), PATIENT)
    return [(str(path), os.path.getsize(path)) for path in (folder.fetch(*file) for file in wanted)]
