"""What members claim, compared with what they hold: bytes can be as written, and still be none that we would write."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from anchor.shards.jpegs import jpeg_size, read_table
from anchor.shards.members import (
    AUDIO,
    FRAMES,
    FRAMES_CRC,
    FRAMES_INDEX,
    MEL,
    META,
    VIDEO,
    decode_meta,
    decode_npy,
    flac_samples,
)
from anchor.shards.video import decode_video
from anchor.timing import NUM_MELS, SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = ["SPARE_SECONDS", "describe_claims", "max_samples"]

SPARE_SECONDS = 60  # by which a sound may be longer than its clip


def max_samples(num_frames: int) -> int:
    """How long the sound of a clip may be; a few kilobytes of FLAC can claim hours of silence."""
    return num_frames * SAMPLES_PER_FRAME + SPARE_SECONDS * SAMPLE_RATE


def describe_claims(members: Mapping[str, memoryview], num_frames: int, size: int) -> dict[str, str]:
    """What is wrong, by member, with a clip of ``num_frames`` pictures of ``size`` pixels.

    Nothing is decoded but the first picture of a video.
    """
    wrong = {}
    for name, data in members.items():
        try:
            if name == MEL and (bins := decode_npy(data, np.float16, 2).shape[1]) != NUM_MELS:
                raise ValueError(f"it has {bins} bins, not {NUM_MELS}")
            if name == META:
                decode_meta(data)
            if name == AUDIO and flac_samples(data) > max_samples(num_frames):
                raise ValueError(f"it claims {flac_samples(data) / SAMPLE_RATE:.0f} s, far longer than its clip")
            if name == VIDEO:
                decode_video(bytes(data), [0], num_frames, np.empty((1, size, size, 3), np.uint8))
            if name == FRAMES_INDEX:
                read_table(data, members[FRAMES_CRC], num_frames, len(members[FRAMES]))
        except ValueError as error:
            wrong[name] = str(error)
    if FRAMES in members and FRAMES_INDEX not in wrong:
        table = read_table(members[FRAMES_INDEX], members[FRAMES_CRC], num_frames, len(members[FRAMES]))
        offsets = table.offsets.tolist()
        for number, crc in enumerate(table.crcs.tolist()):
            jpeg = members[FRAMES][offsets[number] : offsets[number + 1]]
            what = _describe_jpeg(jpeg, crc, size)
            if what:
                wrong[FRAMES] = f"frame {number}: {what}"
                break
    return wrong


def _describe_jpeg(jpeg: memoryview, crc: int, size: int) -> str | None:
    if zlib.crc32(jpeg) != crc:
        return f"its bytes do not match its checksum in {FRAMES_CRC}"
    try:
        height, width = jpeg_size(jpeg)
    except ValueError as error:
        return str(error)
    return None if (height, width) == (size, size) else f"it claims {width}x{height} pixels, not {size}x{size}"
