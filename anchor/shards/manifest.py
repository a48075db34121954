"""The manifest over a set: what it holds, in which files, each with its size and SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from anchor.errors import ShardError
from anchor.ops.mel import mel_config_hash
from anchor.shards.clips import ClipTable
from anchor.shards.folder import Folder
from anchor.shards.index import MAX_GAP
from anchor.shards.members import FORMAT_VERSION, MANIFEST, MEMBERS
from anchor.shards.version1 import from_version1

__all__ = ["RESTORE", "STANDARD_KEYS", "manifest_text", "read_manifest"]

RESTORE = "Copy the set again from where it was made, or run `anchor preprocess` again."
SEAL = b' "sha256": "'  # the last key; the checksum covers every byte before it
STANDARD_KEYS = (
    "format_version", "codec", "mel_config_hash", "image_size", "num_clips", "num_frames", "num_bytes", "speakers",
    "splits", "shards", "sha256",
)  # fmt: skip
SHARD_NAME = re.compile(r"shard-\d{6,9}\.tar")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SIDE = 4096  # pixels of a crop
MIN_FRAME_BYTES = 100  # the speech of a frame alone has 512, but at the end of a clip


def manifest_text(manifest: Mapping[str, Any], clips: ClipTable) -> bytes:
    """The file: one line for each key of ``manifest``, the columns of ``clips``, and the checksum of all that."""
    content = {**manifest, "clips": clips.columns()}
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n" for key, value in content.items()]
    body = ("{\n" + "".join(lines)).encode()
    return body + SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def read_manifest(folder: Folder, any_mel: bool = False, any_version: bool = False) -> tuple[dict[str, Any], ClipTable]:
    """The manifest without its columns, and the columns.

    ``any_mel`` takes a set whose speech was analysed with other parameters, ``any_version`` an older format.

    Raises:
        ShardError: there is none, or it is not what was written, or of a set that this program cannot use.
    """
    where = f"{folder.url.rstrip('/')}/{MANIFEST}"
    try:
        data = folder.read(MANIFEST)
    except FileNotFoundError:
        raise ShardError(
            f"{folder.url} is no set of shards: there is no {MANIFEST}. Check the path, or make a set there with "
            "`anchor preprocess`."
        ) from None
    is_sealed = _is_sealed(data)
    try:
        text = data.decode("utf-8")
        del data  # 18 MB of a thousand hours, on every rank
        manifest = json.loads(text)
        del text
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{where} is cut off or damaged ({error}). {RESTORE}") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ShardError(f"{where} is no manifest of a set of shards: it has no format_version. {RESTORE}")
    if version > FORMAT_VERSION:
        raise ShardError(
            f"{where} has format {version}, which is newer than this program: it reads up to {FORMAT_VERSION}. "
            "Install a newer virtual-anchor."
        )
    if version == FORMAT_VERSION and not is_sealed:
        raise ShardError(
            f"{where} was changed after it was written: its content does not match its own checksum. {RESTORE}"
        )
    if version != FORMAT_VERSION and not any_version:
        raise ShardError(
            f"{where} has format {version}, this program trains on {FORMAT_VERSION}. "
            f"Migrate it: `anchor shards merge source={folder.url} out=NEW`."
        )
    try:
        if version == 1:
            manifest = from_version1(manifest)
        clips = _check_content(manifest)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ShardError(f"{where} is damaged: {_short(what)}. {RESTORE}") from error
    if not any_mel and manifest["mel_config_hash"] != mel_config_hash():
        raise ShardError(
            f"{where}: its speech was analysed with mel parameters {_short(manifest['mel_config_hash'])}, this program "
            f"uses {mel_config_hash()}. Run `anchor preprocess` again."
        )
    return manifest, clips


def _is_sealed(data: bytes) -> bool:
    """Whether the last key is the checksum of every byte before it."""
    end = data.rfind(SEAL)
    tail = hashlib.sha256(memoryview(data)[: max(0, end)]).hexdigest().encode() + b'"\n}\n'
    return end >= 0 and data[end + len(SEAL) :] == tail


def _check_content(manifest: dict[str, Any]) -> ClipTable:
    """See that every field is of its kind, and take the columns out of the manifest.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: one is not, or is missing.
    """
    _expect(manifest, "", "codec", lambda value: value in MEMBERS, f"one of {', '.join(MEMBERS)}")
    _expect(manifest, "", "mel_config_hash", lambda value: isinstance(value, str), "a text")
    _expect(manifest, "", "image_size", lambda value: _is_count(value) and 1 <= value <= MAX_SIDE, "a size in pixels")
    for name in ("num_clips", "num_frames", "num_bytes"):
        _expect(manifest, "", name, _is_count, "a count")
    names: set[str] = set()
    for number, shard in enumerate(manifest["shards"]):
        where = f"shards[{number}]."
        _expect(shard, where, "name", lambda value: isinstance(value, str) and SHARD_NAME.fullmatch(value) is not None,
                "a name like shard-000000.tar; other files are never opened")  # fmt: skip
        for name in ("bytes", "clips", "index_bytes", "head_bytes", "head_crc"):
            _expect(shard, where, name, _is_count, "a count")
        _expect(shard, where, "head_bytes", lambda value: value <= MAX_GAP, f"at most {MAX_GAP}")
        for name in ("sha256", "index_sha256"):
            _expect(shard, where, name, lambda value: SHA256.fullmatch(value) is not None, "a SHA-256")
        if shard["name"] in names:
            raise ValueError(f"it lists {shard['name']} twice")
        names.add(shard["name"])
    _expect(manifest, "", "speakers", _are_texts, "a list of names")
    _expect(manifest, "", "splits", lambda value: isinstance(value, dict), "an object")
    _expect(manifest, "", "splits", lambda value: _are_texts(list(value)), "an object of names")
    for name, counts in manifest["splits"].items():
        for count in ("clips", "frames"):
            _expect(counts, f"splits.{name}.", count, _is_count, "a count")
    return _clip_table(manifest)


def _clip_table(manifest: dict[str, Any]) -> ClipTable:
    columns, shards = manifest.pop("clips"), manifest["shards"]
    _expect(columns, "clips.", "keys", _are_texts, "a list of names")
    keys, count = columns["keys"], manifest["num_clips"]
    limits = {"speakers": len(manifest["speakers"]), "splits": len(manifest["splits"]), "num_frames": 2**31,
              "shards": len(shards)}  # fmt: skip
    arrays = {}
    for name, limit in limits.items():
        _expect(columns, "clips.", name, lambda value: isinstance(value, list) and len(value) == count, "a column")
        numbers = columns.pop(name)  # a list of a thousand hours takes 3 to 13 MB, on every rank
        if not all(type(value) is int for value in numbers):
            raise ValueError(f"clips.{name} has something that is no whole number")
        array = np.array(numbers, np.int64 if numbers else None)
        del numbers
        if array.ndim != 1 or (len(array) and not 0 <= array.min() <= array.max() < limit):
            raise ValueError(f"clips.{name} has a number outside 0 to {limit - 1}")
        arrays[name] = array.astype(np.int32)
    if len(keys) != count or len(set(keys)) != count:
        raise ValueError(f"it has {len(keys)} keys, {len(set(keys))} different ones, for {count} clips")
    strange = next(
        (key for key in keys if not key.isprintable() or key.startswith("/") or ".." in key or not key), None
    )
    if strange is not None:
        raise ValueError(f"{strange!r} cannot be the key of a clip")
    held = np.bincount(arrays["shards"], minlength=len(shards))
    if (np.diff(arrays["shards"]) < 0).any() or held.tolist() != [shard["clips"] for shard in shards]:
        raise ValueError("its clips do not lie in its shards one after another")
    frames = np.bincount(arrays["shards"], arrays["num_frames"], len(shards))
    short = np.flatnonzero(frames * MIN_FRAME_BYTES > [shard["bytes"] for shard in shards])
    if len(short):
        raise ValueError(
            f"{shards[int(short[0])]['name']} is too small for the {int(frames[short[0]])} frames it claims"
        )
    if int(arrays["num_frames"].astype(np.int64).sum()) != manifest["num_frames"]:
        raise ValueError(f"its clips do not have {manifest['num_frames']} frames together")
    return ClipTable(keys, manifest["speakers"], arrays["speakers"], list(manifest["splits"]), arrays["splits"],
                     arrays["num_frames"], arrays["shards"])  # fmt: skip


def _expect(fields: Any, where: str, name: str, holds: Callable[[Any], bool], kind: str) -> None:
    if not isinstance(fields, dict):
        raise ValueError(f"{where.rstrip('.') or 'it'} is not an object")
    value = fields[name]
    try:
        is_right = holds(value)
    except TypeError:
        is_right = False
    if not is_right:
        shown = repr(value)
        raise ValueError(f"{where}{name} is {shown[:80]}{'...' * (len(shown) > 80)}, not {kind}")


def _short(text: str) -> str:
    """What a manifest says may be of any length, and no sentence is."""
    return text if len(text) <= 300 else f"{text[:300]}..."


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _is_unicode(item) for item in value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
