"""What one sample of a shard holds, as bytes: the names of its members, and how each is written and read.

Nothing here trusts its input: a member that claims more than it holds is refused before memory is taken for it, and
pickles are never loaded.
"""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np

from anchor.timing import SAMPLE_RATE

__all__ = [
    "AUDIO", "FORMAT_VERSION", "FRAMES", "FRAMES_CRC", "FRAMES_INDEX", "MANIFEST", "MEL", "MEMBERS", "META", "VIDEO",
    "Codec", "decode_flac", "decode_meta", "decode_npy", "encode_flac", "encode_npy", "flac_samples", "index_name",
    "shard_name", "split_name",
]  # fmt: skip

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
FRAMES = "frames.jpgs"  # the JPEGs of all frames, one after another
FRAMES_INDEX = "frames.idx.npy"  # uint32 (N + 1,): where each begins, and the end
FRAMES_CRC = "frames.crc.npy"  # uint32 (N,): CRC-32 of each, so that a few frames can be read and still be checked
VIDEO = "frames.mp4"  # H.264 4:4:4, in place of the three above
MEL = "mel.npy"  # float16 (steps, 80)
AUDIO = "audio.flac"  # 16 kHz mono 16 bit
META = "meta.json"
Codec = Literal["jpeg", "h264"]
MEMBERS: dict[str, tuple[str, ...]] = {  # sorted, as webdataset writes them
    "jpeg": tuple(sorted((AUDIO, FRAMES, FRAMES_CRC, FRAMES_INDEX, MEL, META))),
    "h264": tuple(sorted((AUDIO, VIDEO, MEL, META))),
}


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.tar"


def index_name(shard: str) -> str:
    """The file name of the index beside ``shard``."""
    return shard.removesuffix(".tar") + ".idx"


def split_name(name: str) -> tuple[str, str]:
    """The key and the kind of a member, cut where webdataset cuts: at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    key, _, kind = last.partition(".")
    return folder + slash + key, kind


def encode_npy(array: np.ndarray) -> bytes:
    """``array`` as an npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def decode_npy(data: bytes | memoryview, dtype: type[np.generic], ndim: int) -> np.ndarray:
    """The array in an npy file, read-only; it must hold just what its header claims.

    Raises:
        ValueError: it is none, holds pickled objects, or is of another type, dimension or size.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"npy version {version[0]}.{version[1]}, not 1.0")
        shape, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # a damaged header fails in as many ways as Python's own grammar
        raise ValueError(f"it has no header of an array ({str(error)[:200]})") from error
    if kind.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded")
    size = kind.itemsize * int(np.prod(shape, dtype=object))
    held = len(data) - file.tell()
    if kind != np.dtype(dtype) or is_fortran or len(shape) != ndim:
        raise ValueError(f"it claims {kind} of shape {shape}, not {np.dtype(dtype).name} of {ndim} dimensions")
    if size != held:
        raise ValueError(f"it claims shape {shape}, which is {size} bytes, and holds {held}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def decode_meta(data: bytes | memoryview) -> dict[str, Any]:
    """The description of a clip.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        meta = json.loads(bytes(data))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(meta, dict):
        raise ValueError(f"it holds a {type(meta).__name__}, not an object")
    return meta


def encode_flac(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> bytes:
    """float32 mono in [-1, 1] as 16-bit FLAC."""
    whole = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac", options={"metadata_header_padding": "0"}) as container:  # else 8 kB
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


def flac_samples(data: bytes | memoryview) -> int:
    """How many samples the header of a FLAC claims, 0 where it does not say (RFC 9639, 8.2).

    Raises:
        ValueError: there is no such header.
    """
    if len(data) < 42 or bytes(data[:4]) != b"fLaC" or data[4] & 0x7F:
        raise ValueError("it is no FLAC")
    return int.from_bytes(data[21:26], "big") & (2**36 - 1)


def decode_flac(data: bytes | memoryview, max_samples: int | None = None) -> np.ndarray:
    """float32 mono in [-1, 1) of a 16-bit mono FLAC.

    Raises:
        ValueError: it is no such FLAC, or has more than ``max_samples`` samples: those beyond are not decoded.
    """
    pieces, length = [], 0
    try:
        with av.open(io.BytesIO(data), "r", format="flac") as container:
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("it holds no sound that can be decoded")
            kind = stream.format.name if stream.format else "nothing known"
            if stream.rate != SAMPLE_RATE or stream.codec_context.channels != 1 or kind != "s16":
                found = f"{stream.rate} Hz, {stream.codec_context.channels} channels, {kind}"
                raise ValueError(f"it is {found}, not {SAMPLE_RATE} Hz, 1 channel, s16")
            for frame in container.decode(stream):
                length += frame.samples
                if max_samples is not None and length > max_samples:
                    raise ValueError(f"it is longer than {max_samples / SAMPLE_RATE:.1f} s, far longer than its clip")
                pieces.append(frame.to_ndarray().reshape(-1))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"it is no FLAC ({error})") from error
    return np.concatenate(pieces).astype(np.float32) / 32768.0 if pieces else np.zeros(0, np.float32)
