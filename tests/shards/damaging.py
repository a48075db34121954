"""What happens to sets in the world: edits, cuts, and sets made by others."""

import hashlib
import io
import json
import tarfile
import zlib

import numpy as np

from anchor.shards.index import ShardIndex
from anchor.shards.members import MEMBERS


def seal(folder, manifest):
    """Write ``manifest`` as a program would that knows how: its checksum is right."""
    manifest.pop("sha256", None)
    body = ("{\n" + "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in manifest.items())).encode()
    digest = hashlib.sha256(body).hexdigest()
    (folder / "manifest.json").write_bytes(body + f' "sha256": "{digest}"\n}}\n'.encode())


def edit_manifest(folder, change):
    """Let ``change`` edit the manifest in place; the checksum is made right again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    seal(folder, manifest)


def flip(path, place, mask=1):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def read_all(source):
    """Every picture, mel, sound and description of a set, clip by clip: ``(key, content or error)``."""
    from anchor.errors import DamagedError

    content = []
    for clip in source.clips:
        try:
            content.append(
                (
                    clip.key,
                    source.read_frames(clip, range(clip.num_frames)).tobytes()
                    + source.read_mel(clip).tobytes()
                    + source.read_audio(clip).tobytes()
                    + json.dumps(source.read_meta(clip)).encode(),
                )
            )
        except DamagedError as error:
            content.append((clip.key, error))
    return content


def claim_tar(folder, data, change_index=None):
    """Replace the only shard by the tar ``data`` and make every checksum right, as a forger would.

    Members are indexed by name, whatever lies between them.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    names, (entry,) = MEMBERS[manifest["codec"]], manifest["shards"]
    keys = manifest["clips"]["keys"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: (member.offset_data, member.size) for member in tar}
    places = np.array([[found[f"{key}.{name}"] for name in names] for key in keys], np.int64)
    offsets, sizes = places[..., 0], places[..., 1]
    ends = np.concatenate([[0], (offsets + sizes).reshape(-1)[:-1]])
    index = ShardIndex(
        names, offsets, sizes,
        np.array([zlib.crc32(data[o : o + s]) for o, s in places.reshape(-1, 2)], np.uint32).reshape(offsets.shape),
        np.array([zlib.crc32(data[e:o]) for e, o in zip(ends, offsets.reshape(-1), strict=True)], np.uint32).reshape(
            offsets.shape
        ),
    )  # fmt: skip
    if change_index is not None:
        index = change_index(index)
    claim_index(folder, manifest, index.to_bytes(entry["name"], keys), data)


def claim_index(folder, manifest, index, data):
    """Write an index and a shard and make the manifest agree."""
    (entry,) = manifest["shards"]
    head = 512
    entry.update(
        bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), index_bytes=len(index),
        index_sha256=hashlib.sha256(index).hexdigest(), head_bytes=head, head_crc=zlib.crc32(data[:head]),
    )  # fmt: skip
    (folder / entry["name"]).write_bytes(data)
    (folder / entry["name"].replace(".tar", ".idx")).write_bytes(index)
    seal(folder, manifest)


def members_of(path):
    """The entries of a tar with their data, to build another from."""
    with tarfile.open(path) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def build_tar(entries):
    """A tar with these entries: ``TarInfo`` and data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in entries:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_version1(out, source):
    """The clips of ``source`` as sets of format 1 were written: JSON indexes, a list of clips in the manifest."""
    out.mkdir()
    manifest = {
        "format_version": 1, "mel_config_hash": source.manifest["mel_config_hash"], "image_size": source.image_size,
        "num_clips": len(source.clips), "num_frames": source.manifest["num_frames"],
        "speakers": source.manifest["speakers"], "splits": source.manifest["splits"], "shards": [], "clips": [],
    }  # fmt: skip
    for number, entry in enumerate(source.manifest["shards"]):
        data = (source.folder.path / entry["name"]).read_bytes()
        (out / entry["name"]).write_bytes(data)
        index, rows = source.index(number), {}
        for row, clip in enumerate(source.clip_range(number)):
            places = zip(index.offsets[row].tolist(), index.sizes[row].tolist(), index.crcs[row].tolist(), strict=True)
            rows[source.clips.key(clip)] = dict(zip(index.names, map(list, places), strict=True))
        text = json.dumps({"format_version": 1, "shard": entry["name"], "clips": rows})
        (out / entry["name"].replace(".tar", ".idx.json")).write_text(text)
        kept = {name: entry[name] for name in ("name", "bytes", "sha256", "clips")}
        manifest["shards"].append({**kept, "index_sha256": hashlib.sha256(text.encode()).hexdigest()})
        for clip in source.clips[source.clip_range(number).start : source.clip_range(number).stop]:
            manifest["clips"].append(
                {"key": clip.key, "speaker": clip.speaker, "split": clip.split, "num_frames": clip.num_frames,
                 "shard": entry["name"]}
            )  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return out
