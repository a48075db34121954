"""Read sound and pictures: 16 kHz mono speech from anything FFmpeg knows, RGB from any picture."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.media.reader import open_media
from anchor.timing import SAMPLE_RATE

__all__ = ["read_audio", "read_image"]

GAP_S = 0.03  # a larger jump of the timestamps is a hole in the sound, a smaller one is their rounding
MAX_BAD_SHARE = 0.05  # of the packets that may fail to decode; they become silence


def read_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The first audio track as float32 mono in [-1, 1], from its first sample on, at ``sample_rate``.

    Encoder priming is dropped where the container declares it; holes in the timestamps become silence, so a sample's
    index stays its time. torchaudio resamples.

    Raises:
        MediaError: the file is missing, empty or damaged, has no audio track, or the track holds no sample.
    """
    path = Path(path)
    pieces: list[np.ndarray] = []
    written = total_packets = bad_packets = 0
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio track. Give a file with speech, or add the sound to the video.")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate or SAMPLE_RATE
        mono = av.AudioResampler("fltp", "mono", rate)
        start: float | None = None
        for packet in container.demux(stream):
            total_packets += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                bad_packets += 1
                continue
            for frame in frames:
                if frame.time is not None:
                    start = frame.time if start is None else start
                    hole = round((frame.time - start) * rate) - written
                    if hole > GAP_S * rate:
                        pieces.append(np.zeros(hole, np.float32))
                        written += hole
                frame.pts = None
                for piece in mono.resample(frame):
                    samples = piece.to_ndarray()[0].astype(np.float32, copy=False)
                    pieces.append(samples)
                    written += len(samples)
    if bad_packets > MAX_BAD_SHARE * total_packets:
        raise MediaError(
            f"{path}: {bad_packets} of {total_packets} packets of its sound cannot be decoded. Copy the file again."
        )
    if not written:
        raise MediaError(f"{path}: its audio track holds no samples. Record or export the sound again.")
    samples = np.concatenate(pieces)
    if rate != sample_rate:
        samples = _resample(samples, rate, sample_rate)
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: its sound holds numbers that are not finite. Export it again.")
    return np.clip(samples, -1.0, 1.0)


def read_image(path: Path) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3); the camera's orientation mark is honoured.

    Raises:
        MediaError: the file is missing, empty, or no picture.
    """
    import cv2

    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path} does not exist. Give the path of a picture.")
    data = np.fromfile(path, np.uint8)  # cv2.imread cannot take every file name
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise MediaError(f"{path} is no picture that can be read ({data.size} bytes). Give a JPEG, PNG or WebP.")
    return np.ascontiguousarray(picture[..., ::-1])


def _resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    import torch
    import torchaudio.functional as audio_functional

    return audio_functional.resample(torch.from_numpy(samples), rate, target).numpy()
