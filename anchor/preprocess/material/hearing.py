"""Measure the sound of one video: the speech as the networks hear it, and clipping as it was recorded."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.media import read_audio
from anchor.media.reader import open_media
from anchor.ops import quality
from anchor.preprocess.material.measures import Sound
from anchor.preprocess.watch import beat
from anchor.timing import SAMPLE_RATE

__all__ = ["measure_sound"]


def measure_sound(path: Path) -> tuple[Sound | None, np.ndarray, str]:
    """The sound of ``path``, its samples at 16 kHz, and why there are none."""
    try:
        samples = read_audio(path)
        rate, channels, clipped = _measure_recording(path)
    except MediaError as error:
        return None, np.zeros(0, np.float32), str(error)
    level_db, activity = quality.speech_level(samples)
    sound = Sound(
        sample_rate=rate,
        channels=channels,
        seconds=round(len(samples) / SAMPLE_RATE, 3),
        level_db=round(level_db, 2),
        activity=round(activity, 3),
        noise_db=round(quality.noise_level(samples), 2),
        silence_share=round(quality.silence_share(samples), 3),
        clipped_share=round(clipped, 6),
    )
    return sound, samples, ""


def _measure_recording(path: Path) -> tuple[int, int, float]:
    """Sample rate, channels and clipped share of the first audio track, before it is mixed and resampled."""
    clipped = total = 0.0
    with open_media(path) as container:
        stream = container.streams.audio[0]
        rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout
        planes = av.AudioResampler("fltp", layout, rate)
        for packet in container.demux(stream):
            beat()
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # read_audio refuses a track with many of them
            for frame in frames:
                frame.pts = None
                for piece in planes.resample(frame):
                    samples = piece.to_ndarray()
                    clipped += quality.clipped_share(samples) * samples.size
                    total += samples.size
    return rate, layout.nb_channels, clipped / max(1.0, total)
