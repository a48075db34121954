import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from damaging import edit_manifest, flip, seal, write_version1

from anchor.errors import AnchorError, ShardError
from anchor.shards import ShardSet


@pytest.fixture
def first(shards):
    return shards / "shard-000000.tar"


def test_a_short_or_missing_shard_is_named(shards, first):
    whole = first.read_bytes()
    first.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=f"{first} has {len(whole) - 512} bytes, the manifest says {len(whole)}"):
        ShardSet(shards)
    first.write_bytes(b"")
    with pytest.raises(ShardError, match=f"{first} has 0 bytes"):
        ShardSet(shards)
    first.unlink()
    with pytest.raises(ShardError, match=f"{first} is missing; the manifest lists it. Copy what is wrong again"):
        ShardSet(shards)


@pytest.mark.parametrize("name", ["shard-000077.tar", "shard-000000-old.tar", "shard-000077.idx"])
def test_a_file_that_the_manifest_does_not_list_is_named(shards, name):
    (shards / name).write_bytes(b"x")
    with pytest.raises(ShardError, match=rf"{name} is not of this set: the manifest does not list it\. Take it away"):
        ShardSet(shards)
    (shards / name).rename(shards / "notes.txt")  # other files may lie beside the shards
    ShardSet(shards)


def test_exchanged_shards_of_equal_size_are_named(tmp_path, new_shards):
    path = new_shards(tmp_path / "set", max_shard_bytes=1)
    one, two = path / "shard-000001.tar", path / "shard-000002.tar"
    if one.stat().st_size != two.stat().st_size:
        size = max(one.stat().st_size, two.stat().st_size)
        for name in (one, two):
            name.write_bytes(name.read_bytes().ljust(size, b"\0"))
        edit_manifest(path, lambda manifest: [entry.update(bytes=size) for entry in manifest["shards"][1:3]])
    ShardSet(path)
    one.rename(path / "between")
    two.rename(one)
    (path / "between").rename(two)
    with pytest.raises(ShardError, match=r"2 files are wrong: .*000001\.tar begins with 'clip2'.*000002\.tar begins "):
        ShardSet(path)


def test_a_shard_that_begins_otherwise_is_named(shards, first):
    whole = first.read_bytes()
    flip(first, 10)
    with pytest.raises(ShardError, match=rf"{first} does not begin with a tar header"):
        ShardSet(shards)
    first.write_bytes(bytes(4600) + whole[4600:])
    with pytest.raises(ShardError, match=rf"{first} begins with zeros"):
        ShardSet(shards)


def test_a_missing_or_altered_index_is_named(shards, first):
    index = first.with_suffix(".idx")
    size = index.stat().st_size
    flip(index, size // 2)
    with pytest.raises(ShardError, match=rf"{index} is not the index that was written"):
        ShardSet(shards)
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(ShardError, match=rf"{index} has {size - 1} bytes"):
        ShardSet(shards)
    index.unlink()
    with pytest.raises(ShardError, match=rf"{index} is missing"):
        ShardSet(shards)


def test_an_index_that_changes_after_opening_is_never_used(shards, first):
    source = ShardSet(shards)
    flip(first.with_suffix(".idx"), 200)
    with pytest.raises(ShardError, match=r"clip 'clip0'.*shard-000000\.idx is not the index that was written"):
        source.read_mel(source.clips[0])


def test_several_faults_are_counted_and_three_named(tmp_path, new_shards):
    path = new_shards(tmp_path / "set", max_shard_bytes=1)
    for number in range(5):
        (path / f"shard-00000{number}.tar").unlink()
    with pytest.raises(ShardError, match=r"5 files are wrong: .*000000\.tar .*000001\.tar .*000002\.tar .*and 2 more"):
        ShardSet(path)


def test_what_is_no_set_is_said(shards, tmp_path):
    with pytest.raises(ShardError, match=r"nowhere is no set of shards: there is no manifest\.json"):
        ShardSet(tmp_path / "nowhere")
    with pytest.raises(ShardError, match=r"no manifest\.json"):
        ShardSet(tmp_path)
    with pytest.raises(ShardError, match=r"no manifest\.json|cannot be read"):
        ShardSet(shards / "manifest.json")


def test_a_manifest_edited_by_hand_is_found(shards):
    path = shards / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"val"', '"dev"', 1))
    with pytest.raises(ShardError, match=r"manifest\.json was changed after it was written"):
        ShardSet(shards)
    path.write_text(json.dumps(json.loads(text), indent=2))  # even if only its form
    with pytest.raises(ShardError, match="was changed after it was written"):
        ShardSet(shards)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 0.999])
def test_a_manifest_cut_off_is_found(shards, share):
    path = shards / "manifest.json"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ShardError, match=r"manifest\.json is cut off or damaged"):
        ShardSet(shards)


def test_formats_say_what_to_do(shards, tmp_path):
    with pytest.raises(ShardError, match=r"format 1, .* Migrate it: `anchor shards merge source=.* out=NEW`"):
        ShardSet(write_version1(tmp_path / "old", ShardSet(shards)))
    edit_manifest(shards, lambda manifest: manifest.update(format_version=3))
    with pytest.raises(ShardError, match=r"format 3, which is newer than this program: it reads up to 2"):
        ShardSet(shards)


def test_another_mel_is_refused_but_for_tools(shards):
    edit_manifest(shards, lambda manifest: manifest.update(mel_config_hash="abc"))
    with pytest.raises(ShardError, match="mel parameters abc"):
        ShardSet(shards)
    assert len(ShardSet(shards, any_mel=True).clips) == 6


@pytest.mark.parametrize("change", [{"mel_config_hash": "x" * 70_000}, {"splits": {"x" * 70_000: {"clips": -1}}}])
def test_a_refusal_does_not_repeat_what_has_no_end(shards, change):
    edit_manifest(shards, lambda manifest: manifest.update(change))
    with pytest.raises(ShardError, match="xxx") as refused:
        ShardSet(shards)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "name", ["../shard-000000.tar", "/etc/passwd", "shard-000000.tar/../../x", "a/shard-000000.tar", "s3://x", "", 7]
)
def test_names_that_lead_elsewhere_are_never_opened(shards, name):
    edit_manifest(shards, lambda manifest: manifest["shards"][0].update(name=name))
    with pytest.raises(ShardError, match=r"shards\[0\]\.name is .*other files are never opened"):
        ShardSet(shards)


def _drop(name):
    return lambda manifest: manifest.pop(name)


def _put(value, *path):
    def change(manifest):
        for name in path[:-1]:
            manifest = manifest[name]
        manifest[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(_drop(name) for name in ("codec", "image_size", "clips", "shards", "splits", "speakers", "num_clips")),
        _put("png", "codec"), _put(10**9, "image_size"), _put(True, "image_size"), _put(-1, "num_frames"),
        _put(5, "splits", "train"), _put("a", "splits", "val", "clips"), _put({}, "shards"), _put("x", "shards", 0),
        _put(None, "shards", 0, "head_bytes"), _put(2**50, "shards", 0, "head_bytes"), _put(-5, "shards", 0, "bytes"),
        _put("00", "shards", 0, "sha256"), _put("shard-000001.tar", "shards", 0, "name"),
        _put(99, "shards", 0, "clips"), _put(None, "clips"),
        _put("clip1", "clips", "keys", 0), _put(5, "clips", "keys", 0), _put("../x", "clips", "keys", 0),
        _put("a\nb", "clips", "keys", 0), _put([], "clips", "speakers"), _put(99, "clips", "speakers", 0),
        _put(-1, "clips", "shards", 0), _put("1", "clips", "num_frames", 0), _put(10**30, "clips", "num_frames", 0),
        _put(2**31 - 1, "clips", "num_frames", 0), _put([[1]] * 6, "clips", "num_frames"),
    ],
)  # fmt: skip
def test_impossible_manifests_are_refused_in_one_sentence(shards, change):
    edit_manifest(shards, change)
    with pytest.raises(ShardError, match=r"manifest\.json is damaged: ") as caught:
        ShardSet(shards)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(shards), "")) < 400


@pytest.mark.parametrize("text", ["[]", "3", '{"format_version": "2"}', "[" * 100_000, '{"format_version": 0}'])
def test_json_that_is_no_manifest_is_refused(shards, text):
    (shards / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match=r"manifest\.json is "):
        ShardSet(shards)


def test_many_clips_open_from_columns(shards, tmp_path):
    """A manifest of 20 000 clips; the files behind it are not looked at."""
    manifest = json.loads((shards / "manifest.json").read_text())
    count = 20_000
    manifest["shards"] = manifest["shards"][:1]
    manifest["shards"][0].update(clips=count, bytes=6000 * count)
    manifest["num_clips"], manifest["num_frames"] = count, 10 * count
    manifest["clips"] = {
        "keys": [f"speaker{i % 7}/{i:07d}" for i in range(count)], "speakers": [i % 3 for i in range(count)],
        "splits": [i % 2 for i in range(count)], "num_frames": [10] * count, "shards": [0] * count,
    }  # fmt: skip
    (tmp_path / "big").mkdir()
    seal(tmp_path / "big", manifest)
    source = ShardSet(tmp_path / "big", check=False)
    assert len(source.clips) == count
    assert source.clips[12_345].key == "speaker4/0012345"
    assert "clips" not in source.manifest
    columns = (source.clips.speaker_numbers, source.clips.split_numbers, source.clips.num_frames)
    assert sum(column.nbytes for column in columns) == 12 * count
    assert np.bincount(source.clips.split_numbers).tolist() == [count // 2, count // 2]


def test_a_copy_on_another_path_opens(shards, tmp_path):
    copy = shutil.move(shards, tmp_path / "elsewhere with spaces")
    assert re.search("elsewhere with spaces", ShardSet(str(copy)).url)


def test_a_file_address_is_a_folder_and_a_pipe_is_refused(shards):
    assert ShardSet(f"file://{shards}").identity == ShardSet(shards).identity
    with pytest.raises(AnchorError, match="pipe"):
        ShardSet("pipe:cat shard.tar")


def test_a_set_is_opened_without_torch_so_that_what_is_missing_is_said_at_once(shards):
    code = "import sys; from anchor.shards import ShardSet; ShardSet(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(shards)], check=True)
