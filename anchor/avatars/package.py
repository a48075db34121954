"""An avatar on disk: which files it has, what `avatar.json` says, and whether both are to be trusted.

    avatar.json                what it is, its clips, its origin, the sum of every other file
    network/model.safetensors  the generator, with card.json beside it: what `anchor export` writes
    clips/NAME.mp4             the pictures of a clip, each coded by itself: any one is decoded alone
    clips/NAME.rest.mp4        the same with the mouth at rest, where the person speaks in NAME.mp4
    clips/NAME.safetensors     boxes, crops, references, poses and the mask, by frame

No file holds anything that runs. Paths are made from the names of the clips, never taken from the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anchor.errors import AvatarError
from anchor.models.exported import hash_file
from anchor.ops.mel import mel_config_hash
from anchor.timing import FPS

__all__ = [
    "FORMAT", "FORMAT_VERSION", "MANIFEST", "MAX_CLIPS", "MAX_FRAMES", "NOTE", "ClipFacts", "Package", "check_name",
    "clip_files", "package_id", "provenance", "read_package",
]  # fmt: skip

MANIFEST = "avatar.json"
FORMAT, FORMAT_VERSION = "anchor avatar", 1
NOTE = "Pictures made with this avatar are synthetic media: the person shown did not say what is heard."
NETWORK_FILES = ("network/card.json", "network/model.safetensors")

# Bounds of what a package may claim, so that a forged one cannot ask for the machine.
MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 4 * 2**30
MAX_CLIPS = 64
MAX_FRAMES = 7500  # of one clip, 5 min
MAX_SIDE = 3840  # px
MAX_CROP = 1024  # px
MAX_NAME = 64  # characters of the avatar's own name
PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz"}  # what may run when it is read
CLIP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

Loop = Literal["back_and_forth", "around", "once"]
Kind = Literal["idle", "speaking", "action"]


@dataclass(frozen=True)
class ClipFacts:
    """One clip as `avatar.json` tells it; frames are counted from 0 within the clip, at 25 a second."""

    name: str
    kind: Kind
    num_frames: int
    first: int  # the in-point: what lies before it is there to be faded in
    stop: int  # the out-point: the frame after the last one to be shown
    loop: Loop
    has_rest: bool  # NAME.rest.mp4 is there; otherwise the mouth rests in the clip itself
    enter: int  # the frame of the idle clip that looks most like the in-point
    leave: int  # and the one that looks most like the last frame before the out-point


@dataclass(frozen=True)
class Package:
    """A folder whose files are those that were built."""

    path: Path
    name: str
    id: str  # 16 hex digits that change with any file or fact but the name
    size: tuple[int, int]  # width and height of the pictures, px
    crop_size: int  # px, side of the network's crops
    clips: dict[str, ClipFacts]
    manifest: dict[str, Any]


def check_name(name: str) -> None:
    """Refuse what is no name of a clip: a small letter, then small letters, digits, - and _, at most 32.

    Raises:
        AvatarError: it is none.
    """
    if not CLIP_NAME.fullmatch(name) or name == "rest":
        raise AvatarError(
            f"{name[:40]!r} is no name of a clip. Use small letters, digits, - and _, at most 32, a letter first."
        )


def clip_files(name: str, has_rest: bool) -> tuple[str, ...]:
    """The files of a clip, relative to the package."""
    rest = (f"clips/{name}.rest.mp4",) if has_rest else ()
    return (f"clips/{name}.mp4", *rest, f"clips/{name}.safetensors")


def package_id(manifest: Mapping[str, Any]) -> str:
    """What stands for everything in the package but its name."""
    told = {key: value for key, value in manifest.items() if key not in ("id", "name")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def provenance(name: str, id: str) -> dict[str, str]:
    """The tags of a film that an avatar speaks in: that it is synthetic, and which avatar that is."""
    return {"title": name, "comment": f"{NOTE} Made by anchor with avatar {id}.", "artist": f"anchor avatar {id}"}


def read_package(path: Path, check_sums: bool = True) -> Package:
    """The package in the folder ``path``, after everything that can be wrong with it was looked for.

    ``check_sums=False`` leaves out the reading of every byte; sizes are compared all the same.

    Raises:
        AvatarError: it is no package, of another version, incomplete, damaged, or holds what it must not.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    where = path / MANIFEST
    name, size, crop_size = manifest.get("name"), manifest.get("size"), manifest.get("crop_size")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise AvatarError(f"{where}: the avatar's name must be 1 to {MAX_NAME} printable characters. Mend name.")
    if not _is_size(size) or not _is_count(crop_size, 8, MAX_CROP) or manifest.get("fps") != FPS:
        raise AvatarError(f"{where}: size, crop_size or fps is not that of an avatar. {_AGAIN}")
    assert isinstance(size, list)
    assert isinstance(crop_size, int)
    if manifest.get("mel_config_hash") != mel_config_hash():
        raise AvatarError(
            f"{where}: its network hears mels of configuration {str(manifest.get('mel_config_hash'))[:20]}, and this "
            f"anchor computes {mel_config_hash()}. Build it with this version's networks."
        )
    clips = _read_clips(manifest.get("clips"), where)
    _check_files(path, manifest.get("files"), clips, check_sums)
    if manifest.get("id") != package_id(manifest):
        raise AvatarError(f"{where} was changed after the avatar was built (only its name may be). {_AGAIN}")
    return Package(path, name, manifest["id"], (size[0], size[1]), crop_size, clips, manifest)


_AGAIN = "Copy the folder again, or build it again with `anchor avatar build`."


def _read_manifest(path: Path) -> dict[str, Any]:
    where = path / MANIFEST
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise AvatarError(f"avatar={path} {what}. Give the folder that `anchor avatar build` wrote.")
    if where.is_symlink() or not where.is_file():
        raise AvatarError(f"{path} is no avatar: it holds no {MANIFEST}. Give a folder of `anchor avatar build`.")
    if where.stat().st_size > MAX_MANIFEST_BYTES:
        raise AvatarError(f"{where} has {where.stat().st_size} bytes, and no avatar needs as many. {_AGAIN}")
    try:
        manifest = json.loads(where.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AvatarError(f"{where} is no JSON ({type(error).__name__}). {_AGAIN}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise AvatarError(f"{where} is not of an avatar of anchor. Give a folder of `anchor avatar build`.")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise AvatarError(
            f"{where}: the avatar's format is version {str(version)[:20]}, and this anchor reads {FORMAT_VERSION}. "
            "Build it again with this version."
        )
    return manifest


def _read_clips(told: Any, where: Path) -> dict[str, ClipFacts]:
    if not isinstance(told, dict) or not 1 <= len(told) <= MAX_CLIPS or "idle" not in told:
        raise AvatarError(f"{where}: an avatar has 1 to {MAX_CLIPS} clips, one of them called idle. {_AGAIN}")
    clips = {}
    for name, fact in told.items():
        try:
            check_name(name)
        except AvatarError as error:
            raise AvatarError(f"{where}: {error}") from None
        if not isinstance(fact, dict):
            raise AvatarError(f"{where}: clip {name} is not described. {_AGAIN}")
        clip = ClipFacts(
            name, fact.get("kind"), fact.get("frames"), fact.get("in"), fact.get("out"), fact.get("loop"),  # type: ignore[arg-type]
            fact.get("mouth") == "drawn", fact.get("enter"), fact.get("leave"),  # type: ignore[arg-type]
        )  # fmt: skip
        is_sound = (
            clip.kind in ("idle", "speaking", "action")
            and clip.loop in ("back_and_forth", "around", "once")
            and fact.get("mouth") in ("original", "drawn")
            and _is_count(clip.num_frames, 1, MAX_FRAMES)
            and _is_count(clip.first, 0, clip.num_frames - 1)
            and _is_count(clip.stop, clip.first + 1, clip.num_frames)
        )
        if not is_sound:
            raise AvatarError(f"{where}: clip {name} has points, a kind or a loop that cannot be. {_AGAIN}")
        clips[name] = clip
    num_idle = clips["idle"].num_frames
    for clip in clips.values():
        if not (_is_count(clip.enter, 0, num_idle - 1) and _is_count(clip.leave, 0, num_idle - 1)):
            raise AvatarError(f"{where}: clip {clip.name} joins the idle clip where that has no frame. {_AGAIN}")
    return clips


def _check_files(path: Path, told: Any, clips: Mapping[str, ClipFacts], check_sums: bool) -> None:
    expected = {*NETWORK_FILES, *(file for clip in clips.values() for file in clip_files(clip.name, clip.has_rest))}
    if not isinstance(told, dict) or set(told) != expected:
        odd = sorted(map(str, set(told) ^ expected))[:3] if isinstance(told, dict) else ["files"]
        raise AvatarError(
            f"{path / MANIFEST}: its list of files is not that of its clips ({', '.join(odd)[:80]}). {_AGAIN}"
        )
    for found in path.rglob("*"):
        if found.suffix.lower() in PICKLES:
            raise AvatarError(
                f"{found} could run code when it is read, and no avatar holds such a file. Remove it, or build the "
                "avatar from its video with `anchor avatar build`."
            )
    for name in sorted(expected):
        file, fact = path / name, told[name]
        if file.is_symlink() or file.parent.is_symlink() or not file.is_file():
            raise AvatarError(f"{file} is missing or not a plain file. {_AGAIN}")
        size = fact.get("bytes") if isinstance(fact, dict) else None
        if size != file.stat().st_size or not _is_count(size, 1, MAX_FILE_BYTES):
            raise AvatarError(f"{file} has {file.stat().st_size} bytes, and {MANIFEST} says {str(size)[:20]}. {_AGAIN}")
        if check_sums and fact.get("sha256") != hash_file(file):
            raise AvatarError(f"{file} is damaged: its bytes are not those that were built. {_AGAIN}")


def _is_size(size: Any) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(_is_count(side, 16, MAX_SIDE) for side in size)


def _is_count(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
