"""Avatars: a person's pictures, faces and network in one folder that can be checked, moved and spoken with."""

from anchor.avatars.avatar import Avatar, AvatarClip
from anchor.avatars.builder import build
from anchor.avatars.description import check, show
from anchor.avatars.package import NOTE, ClipFacts, Package, provenance, read_package

__all__ = [
    "NOTE", "Avatar", "AvatarClip", "ClipFacts", "Package", "build", "check", "provenance", "read_package", "show",
]  # fmt: skip
