"""What one sample of a shard holds, as bytes: the names of its members, and how each is written and read."""

from __future__ import annotations

import io
import zlib
from fractions import Fraction
from typing import Any

import av
import numpy as np

from anchor.timing import SAMPLE_RATE

__all__ = [
    "AUDIO", "FORMAT_VERSION", "FRAMES", "FRAMES_CRC", "FRAMES_INDEX", "MANIFEST", "MEL", "MEMBERS", "META",
    "decode_flac", "decode_npy", "encode_flac", "encode_npy", "index_name", "pack_frames", "shard_name",
]  # fmt: skip

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FRAMES = "frames.jpgs"  # the JPEGs of all frames, one after another
FRAMES_INDEX = "frames.idx.npy"  # uint32 (N + 1,): where each begins, and the end
FRAMES_CRC = "frames.crc.npy"  # uint32 (N,): CRC-32 of each, so that a few frames can be read and still be checked
MEL = "mel.npy"  # float16 (steps, 80)
AUDIO = "audio.flac"  # 16 kHz mono 16 bit
META = "meta.json"
MEMBERS = (FRAMES, FRAMES_INDEX, FRAMES_CRC, MEL, AUDIO, META)


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.tar"


def index_name(shard: str) -> str:
    """The file name of the index beside ``shard``."""
    return shard.removesuffix(".tar") + ".idx.json"


def pack_frames(jpegs: list[bytes]) -> dict[str, bytes]:
    """The three members that hold the frames of a clip."""
    offsets = np.concatenate([[0], np.cumsum([len(jpeg) for jpeg in jpegs])])
    assert offsets[-1] < 2**32, "a clip of more than 4 GB"
    return {
        FRAMES: b"".join(jpegs),
        FRAMES_INDEX: encode_npy(offsets.astype(np.uint32)),
        FRAMES_CRC: encode_npy(np.array([zlib.crc32(jpeg) for jpeg in jpegs], np.uint32)),
    }


def encode_npy(array: np.ndarray) -> bytes:
    """``array`` as an npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def decode_npy(data: bytes) -> np.ndarray:
    """The array in an npy file; pickled objects are refused."""
    array: Any = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def encode_flac(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> bytes:
    """float32 mono in [-1, 1] as 16-bit FLAC."""
    whole = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=sample_rate, layout="mono", format="s16")
        resampler = av.AudioResampler("s16", "mono", sample_rate, frame_size=4096)
        frames: list[av.AudioFrame] = []
        if len(whole):
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
            frames = [*resampler.resample(frame), *resampler.resample(None)]
        for piece in [*frames, None]:
            for packet in stream.encode(piece):
                container.mux(packet)
    return buffer.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """float32 mono in [-1, 1) of a 16-bit mono FLAC."""
    with av.open(io.BytesIO(data), "r", format="flac") as container:
        pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(pieces).astype(np.float32) / 32768.0 if pieces else np.zeros(0, np.float32)
