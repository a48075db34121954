"""Whole sets behind an address: what is read is what the folder holds, in every kind of process."""

import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from remote_workers import QUICK, read_all, read_set, read_small
from servers import WebServer, s3_server

from anchor.errors import DamagedError, ShardError
from anchor.shards import ShardSet
from anchor.shards.cache import CacheSettings
from anchor.shards.remote import MissingFileError, RemoteFolder


@pytest.fixture
def web(shards):
    with WebServer(shards) as server:
        yield server


@pytest.fixture(scope="module")
def s3_address(tmp_path_factory):
    pytest.importorskip("moto.server")
    with s3_server(tmp_path_factory.mktemp("moto") / "log") as address:
        yield address


@pytest.fixture
def bucket(s3_address, shards, monkeypatch):
    """The address of the set in a bucket of its own, and a client of the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3")
    name = "bucket-" + hashlib.sha256(str(shards).encode()).hexdigest()[:12]
    client.create_bucket(Bucket=name)
    for path in shards.iterdir():
        client.upload_file(str(path), name, f"sets/one/{path.name}")
    client.put_object(Bucket=name, Key="sets/one/", Body=b"")
    client.put_object(Bucket=name, Key="sets/one/below/shard-000099.tar", Body=b"of another set")
    return f"s3://{name}/sets/one", client


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[3] == other[3]
        for array, wanted in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_a_set_on_a_web_server_is_the_set_in_the_folder(web, shards, tmp_path):
    local, remote = ShardSet(shards), ShardSet(web.url, CacheSettings(tmp_path / "cache"))
    assert remote.identity == local.identity
    assert_same(read_all(remote), read_all(local))
    assert list(remote.verify()) == []
    tars = [name for (method, name) in web.counts if name.endswith(".tar") and method == "GET"]
    assert sorted(tars) == sorted(path.name for path in shards.glob("*.tar"))


def test_a_set_in_a_bucket_is_the_set_in_the_folder(bucket, shards, tmp_path):
    local, remote = ShardSet(shards), ShardSet(bucket[0], CacheSettings(tmp_path / "cache"))
    assert remote.identity == local.identity
    assert_same(read_all(remote), read_all(local))
    assert list(remote.verify()) == []


def test_a_bucket_behaves_as_a_folder(bucket, shards, tmp_path):
    folder = RemoteFolder(bucket[0], CacheSettings(tmp_path / "cache"), QUICK)
    names = sorted(path.name for path in shards.iterdir())
    assert folder.names() == names
    assert folder.sizes([*names, "nowhere"]) == {**{n: (shards / n).stat().st_size for n in names}, "nowhere": None}
    first = (shards / names[-1]).read_bytes()
    assert folder.read(names[-1]) == first
    assert folder.read_range(names[-1], 100, 50) == first[100:150]
    assert folder.read_range(names[-1], len(first) - 5, 50) == first[-5:]
    assert folder.read_range(names[-1], len(first), 50) == b""
    with pytest.raises(ShardError, match=r"such a file has at most 10 bytes \(tried once\)"):
        folder.read(names[-1], limit=10)
    with pytest.raises(MissingFileError, match=r"answers 404 NoSuchKey \(tried once\)"):
        folder.read("nowhere")
    with pytest.raises(MissingFileError, match=r"answers 404 NoSuchKey \(tried once\)"):
        folder.fetch("nowhere", 1, "0" * 64)
    with pytest.raises(ShardError, match=r"with SHA-256 .* arrived, the manifest says 0{64} \(tried 2 times"):
        folder.fetch(names[-1], len(first), "0" * 64)
    nowhere = RemoteFolder(bucket[0] + "-not", CacheSettings(tmp_path / "cache"), QUICK)
    with pytest.raises(MissingFileError, match="no file lies there"):
        nowhere.names()


def test_who_may_not_list_a_bucket_still_learns_the_sizes(shards, tmp_path, monkeypatch):
    """The server is a plain web server that refuses to list: moto asks nobody for rights."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with WebServer(shards) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web.url.removesuffix("/set"))
        web.faults.update({"bucket": 403, "": 403})
        folder = RemoteFolder("s3://bucket", CacheSettings(tmp_path / "cache"), QUICK)
        assert folder.sizes(["manifest.json", "nowhere"]) == {
            "manifest.json": (shards / "manifest.json").stat().st_size,
            "nowhere": None,
        }
        with pytest.raises(ShardError, match="the server answers 403"):
            folder.names()
        for fault, message in (("cut", "in the middle of the file"), ("hang", "no byte came"), (500, "answers 500")):
            web.faults["manifest.json"] = fault
            with pytest.raises(ShardError, match=rf"{message}.* \(tried 3 times") as caught:
                folder.read("manifest.json")
            assert "hunter2" not in str(caught.value)
        gone = web.port
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gone}")
    with pytest.raises(ShardError, match=r"cannot be reached \(Connection refused\) \(tried 3 times"):
        RemoteFolder("s3://bucket", CacheSettings(tmp_path / "cache"), QUICK).read("manifest.json")


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_forks_fork_servers_threads_and_pickles_go_on_with_a_folder(kind, request, shards, tmp_path):
    url = request.getfixturevalue("web").url if kind == "http" else request.getfixturevalue("bucket")[0]
    folder = RemoteFolder(url, CacheSettings(tmp_path / "cache"))
    expected = read_small(folder)
    assert expected[0] == (shards / "manifest.json").read_bytes()
    assert read_small(pickle.loads(pickle.dumps(folder))) == expected
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read_small, [folder] * 32)) == {expected}
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert set(pool.map(read_small, [folder] * 4)) == {expected}
    child = multiprocessing.get_context("fork").Process(target=_read_inherited, args=(folder, expected))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert read_small(folder) == expected  # the parent's connections are still its own


def _read_inherited(folder, expected):
    """The very object that the parent has used, not a pickle of it."""
    assert read_small(folder) == expected


def _drop(folders, times):
    """Drop what the parent made; closing it would take its connections from it, and a second each."""
    systems = [weakref.ref(folder._store._made) for folder in folders if folder._store._made]
    folders.clear()
    gc.collect()
    times.put(len(systems))


def test_a_child_that_drops_a_folder_leaves_its_parents_connections_alone(web, tmp_path):
    folder = RemoteFolder(web.url, CacheSettings(tmp_path / "cache"), QUICK)
    expected = read_small(folder)
    session = folder._store._made._session
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_drop, args=([folder], results))
    child.start()
    assert results.get(timeout=30) == 0  # nothing there that a child could close
    child.join(30)
    assert read_small(folder) == expected
    assert folder._store._made._session is session
    assert not session.closed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_new_processes_read_after_their_parent_did(method, web, shards, tmp_path):
    folder = RemoteFolder(web.url, CacheSettings(tmp_path / "cache"))
    expected = read_small(folder)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(read_small, [folder]) == [expected]


def test_readers_with_a_cache_too_small_for_the_set_read_it_all(web, shards, tmp_path):
    largest = max(path.stat().st_size for path in shards.iterdir())
    keys = [clip.key for clip in ShardSet(shards).clips]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.starmap(read_set, [(web.url, tmp_path / "cache", int(largest * 1.2), 3)] * 3)
    assert found == [keys * 3] * 3


def test_a_copy_that_rots_is_fetched_again_and_the_source_is_blamed_only_if_it_is_bad(web, shards, tmp_path):
    source = ShardSet(web.url, CacheSettings(tmp_path / "cache"))
    expected = read_all(source)
    source.close()
    entry = source.manifest["shards"][0]
    copy = tmp_path / "cache" / entry["sha256"]
    before, data = copy.stat(), copy.read_bytes()
    copy.write_bytes(bytes(len(data)))
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    fetched = web.counts["GET", entry["name"]]
    again = ShardSet(web.url, CacheSettings(tmp_path / "cache"))
    assert_same(read_all(again), expected)
    assert copy.read_bytes() == data
    assert web.counts["GET", entry["name"]] - fetched == 2  # its first bytes at the start, and the shard


def test_a_shard_that_is_damaged_at_its_source_is_never_read(web, shards, tmp_path):
    source = ShardSet(web.url, CacheSettings(tmp_path / "cache"))
    entry = source.manifest["shards"][0]
    data = bytearray((shards / entry["name"]).read_bytes())
    data[len(data) // 2] ^= 1
    (shards / entry["name"]).write_bytes(data)
    with pytest.raises((ShardError, DamagedError), match="the manifest says"):
        read_all(source)
    assert not (tmp_path / "cache" / entry["sha256"]).exists()


def test_a_set_that_lacks_a_shard_is_refused_at_the_start(web, shards, tmp_path):
    name = json.loads((shards / "manifest.json").read_text())["shards"][0]["name"]
    (shards / name).unlink()
    with pytest.raises(ShardError, match=f"{name} is missing"):
        ShardSet(web.url, CacheSettings(tmp_path / "cache"))
