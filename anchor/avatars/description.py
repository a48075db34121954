"""`anchor avatar show` and `anchor avatar check`: what an avatar is, and whether it can be used."""

from __future__ import annotations

from pathlib import Path

from anchor.avatars.avatar import Avatar
from anchor.avatars.package import MANIFEST, Package, clip_files, read_package
from anchor.timing import FPS

__all__ = ["check", "describe_package", "show"]


def show(avatar: Path) -> None:
    """The name, network, clips and origin of an avatar's folder. Every byte of it is compared with its sum.

    avatar: a folder that `anchor avatar build` wrote.
    """
    print(describe_package(read_package(Path(avatar))))


def check(avatar: Path) -> None:
    """Open an avatar as a live session would: sums, every picture of every clip, the boxes, the network.

    avatar: a folder that `anchor avatar build` wrote.
    """
    opened = Avatar.open(Path(avatar))
    count = 0
    for clip in opened.clips.values():
        for pictures in {clip.pictures, clip.rest_pictures}:
            for number in range(len(pictures)):
                pictures.frame(number)
                count += 1
    opened.load_generator("cpu")
    files = {MANIFEST, "network/card.json", "network/model.safetensors"}
    files |= {file for clip in opened.clips.values() for file in clip_files(clip.facts.name, clip.facts.has_rest)}
    found = {str(path.relative_to(opened.path)) for path in opened.path.rglob("*") if path.is_file()}
    extra = sorted(found - files)
    opened.close()
    print(f"{avatar}: {len(files)} files as they were built, {count} pictures decoded, the network loads.")
    if extra:
        print(f"  no part of it: {', '.join(extra[:5])}{' ...' if len(extra) > 5 else ''}")


def describe_package(package: Package) -> str:
    """Some lines about a package."""
    told = package.manifest
    size = sum(fact["bytes"] for fact in told["files"].values())
    network = told.get("network", {})
    lines = [
        f"{package.path}: {package.name}, {package.size[0]}x{package.size[1]} px, {size / 1e6:.1f} MB, id {package.id}",
        f"  network   {package.crop_size} px, {int(network.get('parameters', 0)) / 1e6:.2f} M parameters, stage "
        f"{network.get('stage')}, from {network.get('source', {}).get('file', 'an export')}",
    ]
    for clip in package.clips.values():
        start, stop = told["clips"][clip.name].get("source_s", [0, 0])
        mouth = "mouth at rest drawn" if clip.has_rest else "mouth as it is"
        points = f", in {clip.first / FPS:.2f} s, out {clip.stop / FPS:.2f} s" if clip.kind == "action" else ""
        lines.append(
            f"  {clip.kind:<9} {clip.name}: {clip.num_frames / FPS:.2f} s of {start:g}-{stop:g} s{points}, "
            f"{clip.loop.replace('_', ' ')}, {mouth}"
        )
    source = told.get("source", {})
    lines.append(f"  source    {source.get('file')}, sha256 {str(source.get('sha256'))[:12]}, made {told.get('made')}")
    lines.append(f"  {told.get('synthetic_media')}")
    return "\n".join(lines)
