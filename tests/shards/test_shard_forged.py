"""Sets made to harm: every checksum is right, and what they claim is not."""

import dataclasses
import hashlib
import io
import json
import pickle
import resource
import struct
import tarfile

import numpy as np
import pytest
from damaging import build_tar, claim_index, claim_tar, edit_manifest, members_of

from anchor.errors import DamagedError, ShardError
from anchor.shards import ShardSet
from anchor.shards.members import decode_flac, decode_npy, encode_flac, encode_npy
from anchor.shards.merge import merge
from anchor.shards.verify import verify


@pytest.fixture
def forged(tmp_path, new_shards):
    """A set of two clips in one shard."""
    return new_shards(tmp_path / "set", range(2), max_shard_bytes=10**9)


@pytest.fixture
def little_memory():
    """4 GB of addresses more than now, as threads want some: what claims terabytes cannot even be asked for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**32, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _entry(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


ENTRIES = {
    "a symbolic link to '/etc/passwd' called 'clip0.evil'": _entry("clip0.evil", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link to 'clip0.mel.npy' called 'twin'": _entry("twin", tarfile.LNKTYPE, "clip0.mel.npy"),
    "a device called 'clip0.null'": _entry("clip0.null", tarfile.CHRTYPE),
    "a pipe called 'clip0.pipe'": _entry("clip0.pipe", tarfile.FIFOTYPE),
    "a folder called 'clip0'": _entry("clip0", tarfile.DIRTYPE),
    "a file called '../escaped'": _entry("../escaped"),
    "a file called '/escaped'": _entry("/escaped"),
    "a pickle, which is never loaded, called 'clip0.pkl'": _entry("clip0.pkl"),
    "a pickle, which is never loaded, called 'clip0.weights.pth'": _entry("clip0.weights.pth"),
}


@pytest.mark.parametrize("what", ENTRIES)
def test_foreign_entries_are_named_and_never_unpacked(forged, tmp_path, what, capsys):
    ShardSet(forged)
    entries = members_of(forged / "shard-000000.tar")
    info = ENTRIES[what]
    claim_tar(forged, build_tar([*entries[:2], (info, b"evil" if info.isreg() else b""), *entries[2:]]))
    with pytest.raises(ShardError, match="1 finding in 1 of 2 files"):
        verify(str(forged))
    assert f"an entry that is not of the set lies before it: {what}" in capsys.readouterr().out
    merge((str(forged),), out=tmp_path / "merged")  # copies the members that the index names, and nothing else
    assert [member.name for member, _ in members_of(tmp_path / "merged" / "shard-000000.tar")] == [
        member.name for member, _ in entries
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "set"]
    verify(str(tmp_path / "merged"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_a_link_is_no_member(forged, tmp_path, kind, capsys):
    """The header of mel.npy becomes a link; its data, now between entries, stay where the index says."""
    data = bytearray((forged / "shard-000000.tar").read_bytes())
    begin = ShardSet(forged).index(0).place(0, "mel.npy")[1]
    info = tarfile.TarInfo.frombuf(bytes(data[begin - 512 : begin]), "utf-8", "strict")
    index = ShardSet(forged).index(0)
    info.type, info.linkname = kind, "/etc/passwd"
    data[begin - 512 : begin] = info.tobuf(tarfile.USTAR_FORMAT)
    crcs = index.gap_crcs.copy()
    import zlib

    crcs[0, index.names.index("mel.npy")] = zlib.crc32(data[index.place(0, "mel.npy")[0] : begin])
    manifest = json.loads((forged / "manifest.json").read_text())
    changed = dataclasses.replace(index, gap_crcs=crcs).to_bytes("shard-000000.tar", ["clip0", "clip1"])
    claim_index(forged, manifest, changed, bytes(data))
    with pytest.raises(ShardError, match="is damaged"):
        verify(str(forged))
    assert "lies before it: a " in capsys.readouterr().out


def _swap_member(forged, name, data):
    """Give clip0 another member of this name, with all checksums right."""
    entries = [
        (member, data if member.name == f"clip0.{name}" else held)
        for member, held in members_of(forged / "shard-000000.tar")
    ]
    claim_tar(forged, build_tar(entries))
    return ShardSet(forged)


def _npy_claiming(shape, dtype="<f2"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (_npy_claiming("(1000000000000, 80)"), "bytes, and holds 0"),
        (_npy_claiming("(9223372036854775807, 9223372036854775807)"), "bytes, and holds 0"),
        (_npy_claiming("(-1, 80)"), "bytes, and holds 0"),
        (_npy_claiming("(4,)"), "claims float16 of shape"),
        (_npy_claiming("(1, 80)", "|O"), "pickled objects, which are never loaded"),
        (_npy_claiming("(1, 80)", "<f8"), "claims float64"),
        (_npy_claiming("(10, 3)") + bytes(60), "it has 3 bins, not 80"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, ""),
        (_npy_claiming("(1, 80)").replace(b"}", b"("), "no header of an array"),
        (_npy_claiming("(1, 80)").replace(b"'shape'", b"'shame'"), "no header of an array"),
        (b"\x93NUMPY\x03\x00" + bytes(100), "npy version 3.0"),
        (pickle.dumps([1, 2]), "magic"),
        (b"", ""),
    ],
)
def test_arrays_that_lie_are_refused_before_memory_is_taken(forged, data, what, little_memory):
    source = _swap_member(forged, "mel.npy", data)
    with pytest.raises(DamagedError, match=rf"clip 'clip0', mel\.npy is damaged: .*{what}"):
        source.read_mel(source.clips[0])
    source.read_mel(source.clips[1])
    assert [found.member for found in source.verify()] == ["mel.npy"]


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickled_objects_never_run(forged):
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Trap()], dtype=object), allow_pickle=True)
    for name, read in (("mel.npy", "read_mel"), ("frames.idx.npy", "frames"), ("meta.json", "read_meta")):
        data = pickle.dumps(_Trap()) if name == "meta.json" else buffer.getvalue()
        source = _swap_member(forged, name, data)
        with pytest.raises(DamagedError, match="never loaded" if name.endswith("npy") else r"meta\.json is damaged"):
            source.read_frames(source.clips[0], [0]) if read == "frames" else getattr(source, read)(source.clips[0])
        assert any(found.member == name for found in source.verify())


def _jpeg_claiming(height, width):
    from anchor.ops.jpeg import encode_rgb

    data = bytearray(encode_rgb(np.zeros((48, 48, 3), np.uint8)))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("backend", ["simplejpeg", "torchvision"])
@pytest.mark.parametrize("jpeg", [_jpeg_claiming(60000, 60000), _jpeg_claiming(48, 49), b"GIF89a" * 20])
def test_pictures_that_lie_are_refused_before_memory_is_taken(forged, jpeg, backend, monkeypatch, little_memory):
    from anchor.shards import jpegs

    if backend == "torchvision":
        monkeypatch.setattr(jpegs, "_decoder", lambda: jpegs._decode_by_torchvision)
    else:
        pytest.importorskip("simplejpeg")
    entries = {member.name: data for member, data in members_of(forged / "shard-000000.tar")}
    members = jpegs.pack_frames([jpeg] * 12)
    names = [member for member, _ in members_of(forged / "shard-000000.tar")]
    data = [
        (info, members.get(info.name.removeprefix("clip0."), entries[info.name])) for info in names
    ]  # only clip0's names become those of the members
    claim_tar(forged, build_tar(data))
    source = ShardSet(forged)
    with pytest.raises(DamagedError, match=r"frames\.jpgs is damaged: frame 4: "):
        source.read_frames(source.clips[0], [4])
    (found,) = source.verify()
    assert "frame 0: it " in found.what


@pytest.mark.parametrize("kind", ["hours", "noise", "stereo", "empty"])
def test_sounds_that_lie_are_refused(forged, kind, little_memory):
    sounds = {
        "hours": encode_flac(np.zeros(16_000 * 60 * 10, np.float32)),  # ten minutes in a few kilobytes
        "noise": b"fLaC" + bytes(range(256)) * 4,
        "stereo": encode_flac(np.zeros(8000, np.float32), 8000),
        "empty": b"",
    }
    source = _swap_member(forged, "audio.flac", sounds[kind])
    with pytest.raises(DamagedError, match=r"clip 'clip0', audio\.flac is damaged: it is "):
        source.read_audio(source.clips[0])
    if kind != "stereo":
        assert [found.member for found in source.verify()] == ["audio.flac"]


def test_a_long_sound_is_given_up_early():
    sound = encode_flac(np.zeros(16_000 * 60, np.float32))
    assert len(decode_flac(sound, 16_000 * 60)) == 16_000 * 60
    with pytest.raises(ValueError, match=r"longer than 2\.0 s, far longer than its clip"):
        decode_flac(sound, 32_000)


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff\xfe", b'{"a": ' + b"[" * 100_000])
def test_descriptions_that_are_none_are_refused(forged, text):
    source = _swap_member(forged, "meta.json", text)
    with pytest.raises(DamagedError, match=r"meta\.json is damaged"):
        source.read_meta(source.clips[0])


@pytest.mark.parametrize(
    "offsets", [[0] * 13, [0, 2**32 - 1] + [5] * 11, [4, *range(10, 22)], list(range(12)), list(range(13))]
)
def test_frame_tables_that_lie_are_refused(forged, offsets):
    source = _swap_member(forged, "frames.idx.npy", encode_npy(np.array(offsets, np.uint32)))
    with pytest.raises(DamagedError, match=r"frames\.idx\.npy is damaged: it"):
        source.read_frames(source.clips[0], [0])


def _with(**columns):
    return lambda index: dataclasses.replace(
        index, **{name: change(getattr(index, name).copy()) for name, change in columns.items()}
    )


def _put(value, place=(0, 2)):
    def change(column):
        column[place] = value
        return column

    return change


@pytest.mark.parametrize(
    "change",
    [
        _with(sizes=_put(2**32 - 1)), _with(offsets=_put(2**62)), _with(offsets=_put(-5)), _with(offsets=_put(0)),
        _with(offsets=lambda column: column[::-1]),
        _with(offsets=_put(100, (0, 0))),
    ],
)  # fmt: skip
def test_indexes_that_point_elsewhere_are_refused(forged, change, little_memory):
    claim_tar(forged, (forged / "shard-000000.tar").read_bytes(), change)
    source = ShardSet(forged)
    with pytest.raises(ShardError, match=r"clip 'clip1'.*idx claims places that a shard of \d+ bytes does not have"):
        source.read_mel(source.clips[1])
    assert any("claims places" in str(found) for found in source.verify())


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"mel.npy"', b'"mel.pkl"', "lists a member 'mel.pkl', which no set of codec jpeg has; it is never loaded"),
        (b'"clips": 2', b'"clips": 9', "describes 9 clips"),
        (b'"keys_bytes": 11', b'"keys_bytes": 99', "has not the length that it claims"),
        (b"clip0", b"clipX", "names other clips than the manifest"),
        (b'{"format', b'["format', ""),
    ],
)
def test_indexes_of_something_else_are_refused(forged, old, new, what):
    index = (forged / "shard-000000.idx").read_bytes()
    assert old in index
    manifest = json.loads((forged / "manifest.json").read_text())
    claim_index(forged, manifest, index.replace(old, new), (forged / "shard-000000.tar").read_bytes())
    source = ShardSet(forged)
    with pytest.raises(ShardError, match=rf"shard-000000\.idx .*{what}"):
        source.read_mel(source.clips[0])
    assert list(source.verify())


def test_frames_that_the_manifest_invents_are_not_drawn(forged, little_memory):
    def change(num_frames):
        def edit(manifest):
            manifest["clips"]["num_frames"][0] = num_frames
            manifest["num_frames"] = num_frames + 12

        edit_manifest(forged, edit)

    change(13)
    source = ShardSet(forged)
    with pytest.raises(DamagedError, match=r"lists 12 frames, not 13"):
        source.read_frames(source.clips[0], [0])
    assert any("it lists 12 frames, not 13" in str(found) for found in source.verify())
    for invented, words in ((2**31 - 1, "too small for the 2147483659 frames"), (12.5, "24.5, not a count")):
        change(invented)
        with pytest.raises(ShardError, match=words):
            ShardSet(forged)


def test_an_index_of_endless_brackets_is_damage_and_no_traceback(forged):
    shard = json.loads((forged / "manifest.json").read_text())["shards"][0]
    path = forged / shard["name"].replace(".tar", ".idx")
    data = b"[" * 200_000
    path.write_bytes(data)
    sums = {"index_bytes": len(data), "index_sha256": hashlib.sha256(data).hexdigest()}
    edit_manifest(forged, lambda manifest: manifest["shards"][0].update(sums))
    with pytest.raises(ShardError, match=path.name):
        ShardSet(forged).read_mel(ShardSet(forged).clips[0])


def test_sizes_that_the_manifest_invents_take_no_memory(forged, little_memory):
    """Opening compares sizes; `verify` goes on after that, and must not trust them either."""
    edit_manifest(forged, lambda manifest: manifest["shards"][0].update(bytes=2**60, index_bytes=2**60))
    with pytest.raises(ShardError, match="2 files are wrong"):
        ShardSet(forged)
    assert len(list(ShardSet(forged, check=False).verify())) == 2


def test_arrays_are_read_without_a_copy():
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    read = decode_npy(encode_npy(array), np.float16, 2)
    np.testing.assert_array_equal(read, array)
    assert not read.flags.writeable
