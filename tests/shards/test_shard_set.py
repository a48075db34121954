import json
import multiprocessing
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from damaging import edit_manifest, flip

from anchor.errors import DamagedError, ShardError
from anchor.shards import ShardSet, ShardSetWriter, encode_clip
from anchor.shards.clips import ClipTable
from anchor.shards.jpegs import FrameTable, jpeg_size, runs
from anchor.shards.members import decode_flac, decode_npy, encode_flac, encode_npy
from anchor.shards.recent import Recent


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
        read = source.read_frames(entry, [3, 0, 11, 3])
        assert read.shape == (4, 48, 48, 3)
        for picture, i in zip(read, [3, 0, 11, 3], strict=True):
            assert np.abs(picture.astype(int) - frames[i]).max() <= 8  # RGB stayed RGB
            assert np.abs(picture.astype(int) - frames[i]).mean() < 1.5
        np.testing.assert_allclose(source.read_mel(entry), mel, atol=2e-3)
        assert source.read_mel(entry).dtype == np.float32
        np.testing.assert_allclose(source.read_audio(entry), audio, atol=1 / 32768)
        assert source.read_meta(entry)["truth"]["opening"] == [0.5] * 12
    assert source.read_frames(source.clips[0], []).shape == (0, 48, 48, 3)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_plain_webdataset_reads_it_too(tmp_path, new_shards, codec):
    import webdataset

    paths = [str(path) for path in sorted(new_shards(tmp_path / "set", codec=codec).glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"clip{i}" for i in range(6)]
    if codec == "jpeg":
        offsets = decode_npy(samples[0]["frames.idx.npy"], np.uint32, 1)
        assert samples[0]["frames.jpgs"][: offsets[1]][:2] == b"\xff\xd8"
    else:
        assert samples[0]["frames.mp4"][4:8] == b"ftyp"
    assert json.loads(samples[0]["meta.json"])["key"] == "clip0"
    assert decode_npy(samples[0]["mel.npy"], np.float16, 2).shape == (39, 80)


def test_simplejpeg_and_torchvision_give_the_same_pixels(shards, monkeypatch):
    pytest.importorskip("simplejpeg")
    from anchor.shards import jpegs

    source = ShardSet(shards)
    fast = source.read_frames(source.clips[2], range(12))
    monkeypatch.setattr(jpegs, "_decoder", lambda: jpegs._decode_by_torchvision)
    np.testing.assert_array_equal(source.read_frames(source.clips[2], range(12)), fast)


def test_neighbouring_frames_are_read_at_once(shards, monkeypatch):
    assert runs([7, 3, 4, 5, 4, 9]) == [[1, 2, 4, 3], [0], [5]]
    source, reads = ShardSet(shards), []
    source.read_frames(source.clips[0], [0])
    read = source.files.read
    monkeypatch.setattr(source.files, "read", lambda *place: reads.append(place) or read(*place))
    source.read_frames(source.clips[0], [2, 3, 4, 5, 6, 11])
    assert len(reads) == 2


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


def test_a_fork_goes_on_although_a_thread_of_the_parent_held_the_locks(shards):
    source = ShardSet(shards)
    expected = _pid_and_frame(source)
    with source.files._lock, source._tables._lock:
        child = os.fork()
        if child == 0:  # pragma: no cover
            os._exit(0 if (_pid_and_frame(source) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_only_so_many_files_are_open_at_once(tmp_path, new_shards):
    source = ShardSet(new_shards(tmp_path / "set", max_shard_bytes=1))
    assert len(source.manifest["shards"]) == 6
    source.files.max_open = 2
    before = len(os.listdir("/proc/self/fd"))
    expected = [source.read_mel(entry) for entry in source.clips]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    with ThreadPoolExecutor(8) as pool:  # files close under readers
        for i, mel in enumerate(pool.map(lambda i: source.read_mel(source.clips[i % 6]), range(120))):
            np.testing.assert_array_equal(mel, expected[i % 6])
    source.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    "member", ["frames.jpgs", "frames.idx.npy", "frames.crc.npy", "mel.npy", "audio.flac", "meta.json"]
)
def test_a_flipped_byte_is_found_and_named(shards, member):
    source = ShardSet(shards)
    _, begin, end = source.index(1).place(0, member)
    key, name = source.clips.key(source.clip_range(1)[0]), source.manifest["shards"][1]["name"]
    flip(shards / name, (begin + end) // 2, 4)
    damaged = ShardSet(shards)  # the size is right: only reading can tell
    entry = damaged.clips[damaged.clip_range(1)[0]]
    read = {
        "mel.npy": damaged.read_mel,
        "audio.flac": damaged.read_audio,
        "meta.json": damaged.read_meta,
    }.get(member, lambda entry: damaged.read_frames(entry, range(12)))
    with pytest.raises(DamagedError, match=rf"{name}: clip '{key}', {re.escape(member)} is damaged") as caught:
        read(entry)
    assert (caught.value.shard, caught.value.key, caught.value.member) == (f"{shards}/{name}", key, member)
    assert "match their checksum" in caught.value.what
    damaged.read_meta(damaged.clips[0])
    (found,) = damaged.verify()
    assert isinstance(found, DamagedError)
    assert found.member == member


def test_only_the_frame_that_is_hit_is_refused(shards):
    source = ShardSet(shards)
    end = source.index(0).place(0, "frames.jpgs")[2]
    flip(shards / source.manifest["shards"][0]["name"], end - 30)
    source.read_frames(source.clips[0], range(11))
    with pytest.raises(DamagedError, match="frame 11"):
        source.read_frames(source.clips[0], [11])
    with pytest.raises(ShardError, match="frame 12 was asked for, the clip has 12"):
        source.read_frames(source.clips[1], [12])


def test_a_clip_of_another_set_is_refused(shards, tmp_path, new_shards):
    other = ShardSet(new_shards(tmp_path / "other", prefix="other"))
    with pytest.raises(ShardError, match="'other1' is not of this set"):
        ShardSet(shards).read_mel(other.clips[1])


def test_the_identity_is_that_of_the_content(shards, tmp_path, new_shards):
    identity = ShardSet(shards).identity
    assert re.fullmatch("[0-9a-f]{64}", identity)
    copy = shutil.copytree(shards, tmp_path / "copy")
    assert ShardSet(copy).identity == identity
    assert ShardSet(new_shards(tmp_path / "five", range(5))).identity != identity
    edit_manifest(copy, lambda manifest: manifest["clips"]["splits"].reverse())
    assert ShardSet(copy).identity != identity


def test_equal_clips_make_equal_shards(clip, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer = ShardSetWriter(tmp_path / name, 48, "hash")
        frames, mel, audio = clip(0)
        writer.add(encode_clip(frames, mel, audio, {}), key="a/b", speaker="s", split="train", num_frames=len(frames))
        made.append(writer.close())
    assert made[0] == made[1]


@pytest.mark.parametrize("key", ["", "a.b", "/a", "a\nb", "twice"])
def test_impossible_keys_are_refused(clip, tmp_path, key):
    writer = ShardSetWriter(tmp_path, 48, "hash")
    frames, mel, audio = clip(0)
    members = encode_clip(frames, mel, audio, {})
    writer.add(members, key="twice", speaker="s", split="train", num_frames=12)
    with pytest.raises(ShardError, match="key"):
        writer.add(members, key=key, speaker="s", split="train", num_frames=12)


def test_long_and_foreign_keys_are_kept(clip, tmp_path):
    from anchor.ops.mel import mel_config_hash

    writer = ShardSetWriter(tmp_path, 48, mel_config_hash())
    frames, mel, audio = clip(0)
    keys = ["主播/第一段", "a" * 90 + "/" + "b" * 150, "plain"]
    for key in keys:
        writer.add(encode_clip(frames, mel, audio, {}), key=key, speaker="Ä", split="train", num_frames=12)
    writer.close()
    source = ShardSet(tmp_path)
    assert [entry.key for entry in source.clips] == keys
    assert source.clips.find(keys[1]) == 1
    assert list(source.verify()) == []


def test_a_set_without_clips_opens(tmp_path):
    from anchor.ops.mel import mel_config_hash

    ShardSetWriter(tmp_path, 48, mel_config_hash()).close()
    assert len(ShardSet(tmp_path).clips) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_members_of_the_other_codec_are_refused(clip, tmp_path):
    writer = ShardSetWriter(tmp_path, 48, "hash", codec="h264")
    with pytest.raises(ShardError, match=r"codec=h264 needs audio\.flac, frames\.mp4"):
        writer.add(encode_clip(*clip(0), {}), key="a", speaker="s", split="train", num_frames=12)


def test_clips_are_made_on_access_from_columns():
    count = 1000
    numbers = np.arange(count, dtype=np.int32)
    keys = [f"k{i}" for i in numbers]
    table = ClipTable(keys, ["a", "b"], numbers % 2, ["train"], 0 * numbers, numbers + 5, 0 * numbers)
    assert list(table) == [table[i] for i in range(count)] == table[:]
    assert table[-1].key == "k999"
    assert (table[3].speaker, table[3].split, table[3].num_frames, table[3].location) == ("b", "train", 8, 3)
    assert table.keys(2, 4) == ["k2", "k3"]
    assert table.find("nobody") is None
    with pytest.raises(IndexError):
        table[count]
    assert len(pickle.dumps(table)) < 40 * count


def test_what_is_kept_stays_within_its_bytes():
    kept = Recent(1)
    for number in range(5):
        kept.put(number, FrameTable(np.zeros(1), np.zeros(1)), 300_000)
    kept.put(4, FrameTable(np.ones(1), np.zeros(1)), 300_000)
    assert [kept.get(number) is not None for number in range(5)] == [False, False, True, True, True]
    assert kept.get(4).offsets[0] == 1


def test_the_size_of_a_jpeg_is_read_from_its_header():
    from anchor.ops.jpeg import encode_rgb

    jpeg = encode_rgb(np.zeros((30, 50, 3), np.uint8))
    assert jpeg_size(memoryview(jpeg)) == (30, 50)
    for broken in (b"", b"\xff\xd8", jpeg[:40], b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), bytes(100)):
        with pytest.raises(ValueError, match="no JPEG"):
            jpeg_size(memoryview(broken))


@pytest.mark.parametrize("length", [0, 1, 640, 5000, 100_001])
def test_flac_is_lossless_at_16_bit(length):
    samples = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    again = decode_flac(encode_flac(samples))
    assert len(again) == length
    np.testing.assert_allclose(again, samples, atol=1.01 / 32768)


def test_pickles_in_npy_are_refused():
    with pytest.raises(ValueError, match="allow_pickle"):
        encode_npy(np.array([{}], dtype=object))
