"""`anchor avatar build`: a video or a picture of a person, and a network, become one folder to speak from."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from torch import nn

from anchor import __version__
from anchor.avatars.clips import BuiltClip, write_clip
from anchor.avatars.description import describe_package
from anchor.avatars.package import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    MAX_NAME,
    NOTE,
    Kind,
    clip_files,
    package_id,
    read_package,
)
from anchor.avatars.plan import Stretch, check_stretch, choose_idle, last_second, parse_stretches
from anchor.avatars.source import Source, read_source
from anchor.device import resolve_device
from anchor.errors import AvatarError, ConfigError, MediaError
from anchor.export import read_with_card, write_network
from anchor.faces import make_detector
from anchor.files import put_folder
from anchor.inference.heap import return_large_blocks
from anchor.models import WeightKind
from anchor.models.card import CARD_NAME, read_card
from anchor.models.exported import WEIGHTS_NAME, hash_file, is_export, load_export
from anchor.ops.mel import mel_config_hash
from anchor.timing import FPS

__all__ = ["Rest", "build", "check_place", "read_network", "write_avatar"]

Rest = Literal["auto", "original", "drawn"]
MIN_SECONDS, MAX_SECONDS = 1.0, 120.0
MIN_HEIGHT, MAX_HEIGHT = 128, 2160


def build(
    *,
    video: Path,
    checkpoint: Path,
    out: Path,
    name: str = "",
    idle: str = "",
    speaking: str = "",
    actions: dict[str, str] = {},  # noqa: B006  # read only
    seconds: float = 20.0,
    height: int = 0,
    rest: Rest = "auto",
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    weights: WeightKind = "auto",
) -> None:
    """A person's video or picture and a trained network as one folder, for `anchor speak` and live sessions.

    video: one person before the camera; or a still picture, which then breathes and blinks.
    checkpoint: what stage generator, finetune or quality left, or a folder of `anchor export`.
    out: a new folder, or an earlier avatar, which is replaced when the new one is complete. name: what to call it.
    idle: seconds of the video to idle in, as 4.0-16.5; by default a stretch without speech if one has 3 s, else the
    longest with one face in sight, at most seconds= long. speaking: another stretch to speak in, gestures and all.
    actions.NAME: a gesture from its in-point to its out-point, as actions.wave=12.0-15.5; any number of them.
    height: of the pictures in px, the width follows; 0 keeps the video's own, at most 1920 px long.
    rest: where the person speaks in a clip, its mouth at rest is drawn by the network (drawn) or taken as it is
    (original); auto draws where there is sound.

    No file of the folder can run code; all of them carry sums, which are compared whenever it is opened.
    """
    video, checkpoint, out = Path(video), Path(checkpoint), Path(out)
    asked = parse_stretches(idle, speaking, actions)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ConfigError(f"seconds={seconds:g} is out of range. Choose from {MIN_SECONDS:g} to {MAX_SECONDS:g}.")
    name = name or video.stem[:MAX_NAME] or "avatar"
    check_place(out, [video, checkpoint], height, name)
    if not video.is_file():
        what = "is a folder" if video.is_dir() else "does not exist"
        raise MediaError(f"video={video} {what}. Give a video or a picture of a person.")
    return_large_blocks()
    net, card = read_network(checkpoint, weights)
    source = read_source(video, make_detector(detector), last_second(asked))
    plan = _plan(source, asked, round(seconds * FPS))
    origin = {
        "file": video.name,
        "sha256": hash_file(video),
        "kind": "still" if source.is_still else "video",
        "frames_seen": int(np.size(source.motion_T)),
    }
    write_avatar(source, plan, out, net, card, name=name, origin=origin, height=height, rest=rest, device=device)


def write_avatar(
    source: Source, plan: list[Stretch], out: Path, net: nn.Module, card: dict[str, Any], *, name: str,
    origin: Mapping[str, Any], height: int = 0, rest: Rest = "auto", device: str = "auto",
) -> None:  # fmt: skip
    """The stretches of ``source`` and a network as the folder ``out``, which appears when it is complete.

    ``origin`` is told in its manifest; the other arguments are those of :func:`build`.

    Raises:
        ConfigError: it cannot be written.
    """
    place = out.resolve()
    partial = place.parent / f".{place.name}.partial-{os.getpid()}"
    try:
        (partial / "clips").mkdir(parents=True)
        (partial / "network").mkdir()
        write_network(net, card, partial / "network", onnx=False)
        size = _picture_size(source, height)
        drawing = net.to(resolve_device(device))
        clips = _write_clips(source, plan, partial, size, drawing, rest)
        _write_manifest(partial, name, origin, size, clips, card)
        read_package(partial)
        put_folder(partial, place)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"out={out} cannot be written ({error}). Nothing was changed.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(describe_package(read_package(out, check_sums=False)))


def check_place(out: Path, inputs: list[Path], height: int, name: str) -> None:
    """Refuse, before anything is read, what cannot become an avatar of these.

    Raises:
        AvatarError: ``out`` holds something else, or one of ``inputs``.
        ConfigError: no picture is ``height`` high, or no avatar is called ``name``.
    """
    if height and not MIN_HEIGHT <= height <= MAX_HEIGHT:
        raise ConfigError(
            f"height={height} is out of range. Choose from {MIN_HEIGHT} to {MAX_HEIGHT}, or 0 for its own."
        )
    if len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(f"name={name[:40]!r} must be at most {MAX_NAME} printable characters.")
    if out.is_file():
        raise AvatarError(f"out={out} is a file. Give the name of a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise AvatarError(f"out={out} holds other things. Give a new folder, for an avatar is replaced as a whole.")
    inside = [
        path for path in inputs if path.exists() and out.is_dir() and path.resolve().is_relative_to(out.resolve())
    ]
    if inside:
        raise AvatarError(
            f"out={out} holds the input {inside[0].name}, and is replaced as a whole. Give another folder."
        )


def read_network(checkpoint: Path, weights: WeightKind) -> tuple[nn.Module, dict[str, Any]]:
    """A generator, from a checkpoint or an export, and its card.

    Raises:
        CheckpointError: there is none in it.
    """
    if not is_export(checkpoint):
        return read_with_card(checkpoint, "generator", weights)
    net = load_export(checkpoint, "generator")
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / CARD_NAME
    return net, read_card(path.read_bytes(), str(path), "generator")


def _plan(source: Source, asked: Mapping[str, tuple[Kind, int, int]], max_frames: int) -> list[Stretch]:
    ids_T = source.track.ids
    plan = [
        check_stretch(name, kind, first, last, ids_T, source.levels_T) for name, (kind, first, last) in asked.items()
    ]
    if source.is_still:
        if asked:
            raise ConfigError(
                f"{next(iter(asked))}= asks for a part of a video, and video= is a picture. Leave it out."
            )
        count = len(source.pictures)
        return [Stretch("idle", "idle", 0, count, 0, count, "around", True)]
    if "idle" not in asked:
        plan.insert(0, choose_idle(ids_T, source.levels_T, source.motion_T, max_frames))
    return sorted(plan, key=lambda stretch: (stretch.kind != "idle", stretch.start))


def _picture_size(source: Source, height: int) -> tuple[int, int]:
    old_height, old_width = source.pictures[0].shape[:2]
    scale = height / old_height if height else min(1.0, 1920 / max(old_height, old_width))
    width, height = max(16, 2 * round(old_width * scale / 2)), max(16, 2 * round(old_height * scale / 2))
    if max(width, height) > 3840:
        raise ConfigError(f"height={height} makes pictures of {width}x{height} px. Give a smaller one.")
    return width, height


def _write_clips(
    source: Source, plan: list[Stretch], folder: Path, size: tuple[int, int], net: nn.Module, rest: Rest
) -> list[BuiltClip]:
    built: list[BuiltClip] = []
    for stretch in plan:
        draws_rest = rest == "drawn" or (rest == "auto" and not stretch.is_silent)
        built.append(write_clip(source, stretch, folder, size, net, draws_rest, built[0].looks_TK if built else None))
    return built


def _write_manifest(
    folder: Path, name: str, origin: Mapping[str, Any], size: tuple[int, int], clips: list[BuiltClip], card: Any
) -> None:
    files = ["network/" + CARD_NAME, "network/" + WEIGHTS_NAME]
    files += [file for clip in clips for file in clip_files(clip.stretch.name, clip.has_rest)]
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "anchor_version": __version__,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "size": list(size),
        "fps": FPS,
        "crop_size": card["image_size"],
        "mel_config_hash": mel_config_hash(),
        "network": {key: card[key] for key in ("stage", "parameters", "source") if key in card},
        "clips": {clip.stretch.name: clip.facts() for clip in clips},
        "source": dict(origin),
        "synthetic_media": NOTE,
        "files": {
            file: {"bytes": (folder / file).stat().st_size, "sha256": hash_file(folder / file)} for file in files
        },
    }
    manifest["id"] = package_id(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
