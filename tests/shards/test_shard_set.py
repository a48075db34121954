import json
import multiprocessing
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from anchor.errors import ShardError
from anchor.shards import ShardSet, ShardSetWriter, encode_clip
from anchor.shards.members import decode_flac, decode_npy, encode_flac, encode_npy


def test_reads_what_was_written(shards, clip):
    source = ShardSet(shards)
    assert [entry.key for entry in source.clips] == [f"clip{i}" for i in range(6)]
    assert [entry.split for entry in source.clips] == ["train"] * 5 + ["val"]
    assert source.manifest["speakers"] == ["speaker0", "speaker1", "speaker2"]
    assert source.manifest["splits"]["val"] == {"clips": 1, "frames": 12}
    assert len(source.manifest["shards"]) > 1
    for number in (0, 5):
        frames, mel, audio = clip(number)
        entry = source.clips[number]
        read = source.read_frames(entry, [3, 0, 11])
        assert read.shape == (3, 48, 48, 3)
        for picture, i in zip(read, [3, 0, 11], strict=True):
            assert np.abs(picture.astype(int) - frames[i]).max() <= 8  # RGB stayed RGB
            assert np.abs(picture.astype(int) - frames[i]).mean() < 1.5
        np.testing.assert_allclose(source.read_mel(entry), mel, atol=2e-3)
        assert source.read_mel(entry).dtype == np.float32
        np.testing.assert_allclose(source.read_audio(entry), audio, atol=1 / 32768)
        assert source.read_meta(entry)["truth"]["opening"] == [0.5] * 12


def test_plain_webdataset_reads_it_too(shards):
    import webdataset

    paths = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"clip{i}" for i in range(6)]
    offsets = decode_npy(samples[0]["frames.idx.npy"])
    assert samples[0]["frames.jpgs"][: offsets[1]][:2] == b"\xff\xd8"
    assert json.loads(samples[0]["meta.json"])["key"] == "clip0"
    assert decode_npy(samples[0]["mel.npy"]).dtype == np.float16


def _pid_and_frame(source):
    return source.read_frames(source.clips[2], [1])[0]


def test_threads_forks_and_pickles_may_share_it(shards):
    source = ShardSet(shards)
    expected = _pid_and_frame(source)
    with ThreadPoolExecutor(8) as pool:
        for picture in pool.map(lambda _: _pid_and_frame(source), range(32)):
            np.testing.assert_array_equal(picture, expected)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(_pid_and_frame(again), expected)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for picture in pool.map(_pid_and_frame, [source] * 4):
            np.testing.assert_array_equal(picture, expected)
    source.close()
    np.testing.assert_array_equal(_pid_and_frame(source), expected)


@pytest.mark.parametrize(
    "member", ["frames.jpgs", "frames.idx.npy", "frames.crc.npy", "mel.npy", "audio.flac", "meta.json"]
)
def test_a_flipped_byte_is_found_and_named(shards, member):
    source = ShardSet(shards)
    entry = source.clips[3]
    offset, size, _ = entry.location.members[member]
    path = shards / entry.location.shard
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 4
    path.write_bytes(data)
    damaged = ShardSet(shards)  # the size is right: only reading can tell
    read = {
        "mel.npy": damaged.read_mel,
        "audio.flac": damaged.read_audio,
        "meta.json": damaged.read_meta,
    }.get(member, lambda entry: damaged.read_frames(entry, range(12)))
    with pytest.raises(ShardError, match=rf"{entry.location.shard}: clip 'clip3', {re.escape(member)} is damaged"):
        read(damaged.clips[3])
    damaged.read_meta(damaged.clips[2])
    found = [str(error) for error in damaged.verify()]
    assert len(found) == 2
    assert "not the file that was written" in found[0]
    assert member in found[1]


def test_only_the_frame_that_is_hit_is_refused(shards):
    source = ShardSet(shards)
    offset, size, _ = source.clips[0].location.members["frames.jpgs"]
    path = shards / source.clips[0].location.shard
    data = bytearray(path.read_bytes())
    data[offset + size - 30] ^= 1
    path.write_bytes(data)
    source.read_frames(source.clips[0], range(11))
    with pytest.raises(ShardError, match="frame 11"):
        source.read_frames(source.clips[0], [11])
    with pytest.raises(ShardError, match="frame 12 was asked for, the clip has 12"):
        source.read_frames(source.clips[1], [12])


def _edit(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_what_is_missing_is_found_at_once(shards, tmp_path):
    first = sorted(shards.glob("*.tar"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=f"{first.name} has {len(whole) - 512} bytes, the manifest says {len(whole)}"):
        ShardSet(shards)
    first.unlink()
    with pytest.raises(ShardError, match=f"{first.name} is missing"):
        ShardSet(shards)
    first.write_bytes(whole)
    index = shards / first.name.replace(".tar", ".idx.json")
    text = index.read_text()
    index.write_text(text.replace("512", "513", 1))
    with pytest.raises(ShardError, match="not the index that was written"):
        ShardSet(shards)
    index.unlink()
    with pytest.raises(ShardError, match=r"idx\.json is missing"):
        ShardSet(shards)
    with pytest.raises(ShardError, match="does not exist"):
        ShardSet(tmp_path / "nowhere")
    with pytest.raises(ShardError, match=r"no manifest\.json"):
        ShardSet(tmp_path)


def test_other_formats_are_refused(shards):
    _edit(shards, format_version=99)
    with pytest.raises(ShardError, match="format 99"):
        ShardSet(shards)
    _edit(shards, format_version=1, mel_config_hash="abc")
    with pytest.raises(ShardError, match="mel parameters abc"):
        ShardSet(shards)
    (shards / "manifest.json").write_text('{"format_version": 1')
    with pytest.raises(ShardError, match="damaged"):
        ShardSet(shards)


def test_a_shard_cut_while_it_is_read_is_named(shards):
    source = ShardSet(shards)
    last = source.clips[-1]
    path = shards / last.location.shard
    path.write_bytes(path.read_bytes()[: last.location.members["audio.flac"][0] + 10])
    with pytest.raises(ShardError, match=r"'clip5'.*the file ends after"):
        source.read_audio(last)


def test_equal_clips_make_equal_shards(clip, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer = ShardSetWriter(tmp_path / name, 48, "hash")
        frames, mel, audio = clip(0)
        writer.add(encode_clip(frames, mel, audio, {}), key="a/b", speaker="s", split="train", num_frames=len(frames))
        made.append(writer.close())
    assert made[0] == made[1]


@pytest.mark.parametrize("key", ["", "a.b", "/a", "twice"])
def test_impossible_keys_are_refused(clip, tmp_path, key):
    writer = ShardSetWriter(tmp_path, 48, "hash")
    frames, mel, audio = clip(0)
    members = encode_clip(frames, mel, audio, {})
    writer.add(members, key="twice", speaker="s", split="train", num_frames=12)
    with pytest.raises(ShardError, match="key"):
        writer.add(members, key=key, speaker="s", split="train", num_frames=12)


@pytest.mark.parametrize("length", [0, 1, 640, 5000, 100_001])
def test_flac_is_lossless_at_16_bit(length):
    samples = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    again = decode_flac(encode_flac(samples))
    assert len(again) == length
    np.testing.assert_allclose(again, samples, atol=1.01 / 32768)


def test_pickles_in_npy_are_refused():
    with pytest.raises(ValueError, match="allow_pickle"):
        encode_npy(np.array([{}], dtype=object))
