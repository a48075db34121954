"""Shard sets: the manifest, the index, and every kind of member, with sums that are right."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzzing import changed, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st

from anchor.shards import ShardSet
from anchor.shards.entries import describe_gap
from anchor.shards.jpegs import jpeg_size, read_table
from anchor.shards.members import decode_flac, decode_meta, decode_npy, encode_flac, encode_npy, flac_samples
from anchor.shards.video import decode_video, pack_video


def load(name):
    """A helper of the tests of shards."""
    path = Path(__file__).parent.parent / "shards" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fuzzing_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


damaging, making = load("damaging"), load("conftest")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A set of two clips in one shard. Do not change it: copy it."""
    return making.make_set(tmp_path_factory.mktemp("set") / "set", range(2), max_shard_bytes=10**9, frames=3)


@pytest.fixture
def folder(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "set"))


def look(folder):
    source = ShardSet(folder)
    try:
        source.index(0)
    finally:
        source.close()


def read(folder):
    source = ShardSet(folder)
    try:
        for key, content in damaging.read_all(source):
            assert isinstance(content, (bytes, Exception)), key
    finally:
        source.close()


def test_manifest_bytes(watch, folder):
    text = (folder / "manifest.json").read_bytes()

    @fuzzed()
    @given(mutated(text))
    def run(data):
        (folder / "manifest.json").write_bytes(data)
        watch(look, folder)

    run()


def test_manifest_facts(watch, folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())

    @fuzzed()
    @given(changed(manifest))
    def run(tree):
        damaging.seal(folder, tree)
        watch(read, folder)

    run()


def test_index(watch, folder):
    index = (folder / "shard-000000.idx").read_bytes()
    shard = (folder / "shard-000000.tar").read_bytes()
    manifest = (folder / "manifest.json").read_bytes()

    @fuzzed()
    @given(mutated(index))
    def run(data):
        damaging.claim_index(folder, json.loads(manifest), data, shard)
        watch(read, folder)

    run()


def test_shard_members(watch, folder):
    entries = damaging.members_of(folder / "shard-000000.tar")

    @fuzzed()
    @given(st.integers(0, len(entries) - 1).flatmap(lambda i: st.tuples(st.just(i), mutated(entries[i][1]))))
    def run(pair):
        place, data = pair
        changed = [(info, data if i == place else held) for i, (info, held) in enumerate(entries)]
        damaging.claim_tar(folder, damaging.build_tar(changed))
        watch(read, folder)

    run()


def test_shard_tar(watch, folder):
    data = (folder / "shard-000000.tar").read_bytes()

    @fuzzed()
    @given(mutated(data))
    def run(bytes_):
        (folder / "shard-000000.tar").write_bytes(bytes_)
        watch(read, folder)

    run()


def test_npy(watch):
    arrays = [np.arange(5, dtype=np.uint32), np.zeros((3, 80), np.float16), np.zeros((2, 2, 2), np.uint8)]

    @fuzzed()
    @given(mutated(*map(encode_npy, arrays)))
    def run(data):
        watch(decode_npy, data, np.uint32, 1, errors=ValueError)
        watch(decode_npy, data, np.float16, 2, errors=ValueError)

    run()


def test_meta_json(watch):
    seed = json.dumps({"key": "a", "offset_ms": 40.0, "truth": {"opening": [0.5] * 9}}).encode()

    @fuzzed()
    @given(mutated(seed, b"[" * 50_000))
    def run(data):
        watch(decode_meta, data, errors=ValueError)

    run()


def test_flac(watch):
    sound = encode_flac(np.sin(np.arange(1600, dtype=np.float32) / 9))

    @fuzzed()
    @given(mutated(sound))
    def run(data):
        watch(flac_samples, data, errors=ValueError)
        watch(decode_flac, data, 16_000, errors=ValueError)

    run()


def test_jpeg_table(watch):
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((48, 48, 3), np.uint8))[1].tobytes()
    index = encode_npy(np.arange(4, dtype=np.uint32) * 10)

    @fuzzed()
    @given(mutated(jpeg), mutated(index))
    def run(picture, table):
        watch(jpeg_size, memoryview(picture), errors=ValueError)
        watch(read_table, memoryview(table), memoryview(encode_npy(np.zeros(3, np.uint32))), 3, 30, errors=ValueError)

    run()


def test_video_member(watch):
    film = pack_video([np.full((32, 32, 3), i * 20, np.uint8) for i in range(6)])["frames.mp4"]

    @fuzzed()
    @given(mutated(film))
    def run(data):
        watch(decode_video, data, [0, 3, 5], 6, np.zeros((3, 32, 32, 3), np.uint8), errors=ValueError)

    run()


def test_tar_gaps(watch, folder):
    data = (folder / "shard-000000.tar").read_bytes()[:1536]

    @fuzzed()
    @given(mutated(data), st.integers(0, 511))
    def run(gap, padding):
        found = watch(describe_gap, gap, padding, "clip0.audio.flac", 10)
        assert found is None or isinstance(found, str)

    run()
