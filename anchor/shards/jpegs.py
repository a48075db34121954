"""Frames as JPEGs one after another, with a table of where each begins and its checksum."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from anchor.shards.members import FRAMES, FRAMES_CRC, FRAMES_INDEX, decode_npy, encode_npy

__all__ = ["FrameTable", "decode_into", "jpeg_size", "pack_frames", "read_table", "runs"]

MAX_RUN = 256  # frames read at once, 2 MB at 96 px


class FrameTable(NamedTuple):
    """Where the frames of a clip lie in its ``frames.jpgs``."""

    offsets: np.ndarray  # uint32 (N + 1,)
    crcs: np.ndarray  # uint32 (N,)


def pack_frames(jpegs: Sequence[bytes]) -> dict[str, bytes]:
    """The three members that hold the frames of a clip."""
    offsets = np.concatenate([[0], np.cumsum([len(jpeg) for jpeg in jpegs])])
    assert offsets[-1] < 2**32, "a clip of more than 4 GB"
    return {
        FRAMES: b"".join(jpegs),
        FRAMES_INDEX: encode_npy(offsets.astype(np.uint32)),
        FRAMES_CRC: encode_npy(np.array([zlib.crc32(jpeg) for jpeg in jpegs], np.uint32)),
    }


def read_table(index: memoryview, crcs: memoryview, num_frames: int, num_bytes: int) -> FrameTable:
    """The table of a clip of ``num_frames`` whose JPEGs have ``num_bytes`` together.

    Raises:
        ValueError: the members are damaged, or do not describe such a clip.
    """
    table = FrameTable(decode_npy(index, np.uint32, 1), decode_npy(crcs, np.uint32, 1))
    if len(table.offsets) != num_frames + 1 or len(table.crcs) != num_frames:
        raise ValueError(f"it lists {len(table.offsets) - 1} frames, not {num_frames}")
    if table.offsets[0] != 0 or table.offsets[-1] != num_bytes or (np.diff(table.offsets.astype(np.int64)) <= 0).any():
        raise ValueError(f"its frames do not lie one after another in {num_bytes} bytes")
    return table


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """The positions of ``numbers`` in groups of neighbours, each to be read at once."""
    groups: list[list[int]] = []
    last = -2
    for place in sorted(range(len(numbers)), key=numbers.__getitem__):
        if numbers[place] - last > 1 or len(groups[-1]) >= MAX_RUN:
            groups.append([])
        groups[-1].append(place)
        last = numbers[place]
    return groups


def decode_into(data: memoryview, picture: np.ndarray) -> None:
    """Decode a JPEG into ``picture``, uint8 RGB (H, W, 3).

    simplejpeg is taken where it is installed, torchvision otherwise; the pixels are the same.

    Raises:
        ValueError: ``data`` is no JPEG of this size; memory is taken for no other.
    """
    _decoder()(data, picture)


@functools.cache
def _decoder() -> Callable[[memoryview, np.ndarray], None]:
    try:
        import simplejpeg
    except ImportError:
        return _decode_by_torchvision

    def decode_by_simplejpeg(data: memoryview, picture: np.ndarray) -> None:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        _expect((height, width), picture)
        simplejpeg.decode_jpeg(data, buffer=picture)

    return decode_by_simplejpeg


def _decode_by_torchvision(data: memoryview, picture: np.ndarray) -> None:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    _expect(jpeg_size(data), picture)
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        picture[...] = decode_jpeg(buffer, mode=ImageReadMode.RGB).numpy().transpose(1, 2, 0)
    except RuntimeError as error:
        raise ValueError(f"it is no JPEG ({error})") from error


def _expect(size: tuple[int, int], picture: np.ndarray) -> None:
    if size != picture.shape[:2]:
        raise ValueError(f"it is {size[1]}x{size[0]} pixels, not {picture.shape[1]}x{picture.shape[0]}")


def jpeg_size(data: memoryview) -> tuple[int, int]:
    """Height and width that the header of a JPEG claims (ITU-T T.81, B.2.2).

    Raises:
        ValueError: there is no such header.
    """
    place = 2
    while data[:2] == b"\xff\xd8" and place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return height, width
        if length < 2:
            break
        place += 2 + length
    raise ValueError("it is no JPEG")
