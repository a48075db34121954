"""A web server's set of four shards, and a cache of them: how it is asked, and what was asked of whom."""

from remote_workers import QUICK

from anchor.shards.cache import CacheSettings
from anchor.shards.remote import RemoteFolder

SIZE = 200_000  # bytes of a shard


def remote(web, place, shards=None):
    return RemoteFolder(web.url, CacheSettings(place, None if shards is None else int(shards * SIZE)), QUICK)


def gets(web):
    return sum(count for (method, _), count in web.counts.items() if method == "GET")


def kept(place, wanted):
    """Which of the shards lie in the cache; anything else there is an error."""
    numbers = {sha256: number for number, (*_, sha256) in enumerate(wanted)}
    return sorted(numbers[path.name] for path in place.iterdir())
