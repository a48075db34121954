"""Where fetched shards are kept: who may write there, and what the environment says."""

import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from cached_shards import gets, kept, remote

from anchor.errors import ConfigError, ShardError
from anchor.shards.cache import CacheSettings, ShardCache


@pytest.fixture
def open_place():
    """A cache that other users reach, which the temporary folders of tests are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "cache"


def _as_nobody(queue, deed):
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        queue.put(str(deed()))
    except ShardError as error:
        queue.put(f"ShardError: {error}")


def test_a_cache_that_may_only_be_read_gives_what_it_has(web, wanted, open_place):
    place = open_place
    for file in wanted[:2]:
        remote(web, place).fetch(*file)
    os.utime(place / wanted[1][2], (0, 0))  # this one lost its seal
    place.chmod(0o555)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    before, said = gets(web), []
    folder = remote(web, place)
    for number in (0, 1, 2):
        child = context.Process(target=_as_nobody, args=(queue, lambda n=number: folder.fetch(*wanted[n])))
        child.start()
        said.append(queue.get(timeout=60))
        child.join()
    place.chmod(0o755)
    assert said[:2] == [str(place / wanted[0][2]), str(place / wanted[1][2])]
    assert f"the cache {place} cannot be written (Permission denied)" in said[2]
    assert "ANCHOR_CACHE=DIR" in said[2]
    assert gets(web) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_users_share_a_folder_that_both_may_write(web, wanted, open_place):
    place = open_place
    place.mkdir()
    place.chmod(0o777)
    left = [place / f".{wanted[0][2]}.lock", place / f".{wanted[1][2]}.{'0' * 16}.partial"]
    for path in left:  # a killed process of the other user
        path.write_bytes(b"")
        path.chmod(0o644)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    folder = remote(web, place, shards=2)
    for number in (0, 1):
        child = context.Process(target=_as_nobody, args=(queue, lambda n=number: folder.fetch(*wanted[n])))
        child.start()
        assert queue.get(timeout=60) == str(place / wanted[number][2])
        child.join()
    assert not any(path.exists() for path in left)
    folder.fetch(*wanted[2])
    assert kept(place, wanted) == [1, 2]


def test_a_cache_that_is_no_folder_is_said(web, wanted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match=r"the cache .*/file/cache cannot be written \(Not a directory\)"):
        remote(web, tmp_path / "file" / "cache").fetch(*wanted[0])


def test_the_environment_says_where_and_how_much(monkeypatch, tmp_path):
    monkeypatch.delenv("ANCHOR_CACHE", raising=False)
    monkeypatch.delenv("ANCHOR_CACHE_GB", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert CacheSettings().place == tmp_path / ".cache/anchor/shards"
    assert CacheSettings().limit == 100 * 10**9
    monkeypatch.setenv("ANCHOR_CACHE", "~/here")
    monkeypatch.setenv("ANCHOR_CACHE_GB", "0.5")
    assert (CacheSettings().place, CacheSettings().limit) == (tmp_path / "here", 500_000_000)
    assert CacheSettings(tmp_path, 7).limit == 7
    for wrong in ("much", "0", "-1", "inf", "nan"):
        monkeypatch.setenv("ANCHOR_CACHE_GB", wrong)
        with pytest.raises(ConfigError, match=f"ANCHOR_CACHE_GB={wrong}"):
            ShardCache(CacheSettings())
