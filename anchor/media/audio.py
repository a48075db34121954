"""Read sound: 16 kHz mono speech from anything FFmpeg knows."""

from __future__ import annotations

import math
from pathlib import Path

import av
import av.error
import numpy as np

from anchor.errors import MediaError
from anchor.media.container import open_media
from anchor.timing import SAMPLE_RATE

__all__ = ["read_audio"]

GAP_S = 0.03  # a larger jump of the timestamps is a hole in the sound, a smaller one is their rounding
PIECE_S = 20.0  # of sound resampled at once
MARGIN_SAMPLES = 1024  # around it; the filter reaches over 6 samples of the slower rate, at most 36 at 96 kHz
MAX_SOUND_S = 12 * 3600.0  # of one track, 2.8 GB at 16 kHz; timestamps and silence can claim any length
MAX_RATE = 1_000_000  # Hz; a header can claim any
MAX_TAPS = 2**22  # of torchaudio's filter; of rates with no common factor, as 48001 Hz, they would fill gigabytes
COMMON_RATE = 48_000  # to which FFmpeg brings a sound of such a rate first
MAX_BAD_SHARE = 0.05  # of the packets that may fail to decode; they become silence


def read_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The first audio track as float32 mono in [-1, 1], from its first sample on, at ``sample_rate``.

    Encoder priming is dropped where the container declares it; holes in the timestamps become silence, so a sample's
    index stays its time. torchaudio resamples, and FFmpeg before it where a rate is odd.

    Raises:
        MediaError: the file is missing, empty or damaged, has no audio track, or the track holds no sample.
    """
    path = Path(path)
    written = total_packets = bad_packets = 0
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no audio track. Give a file with speech, or add the sound to the video.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path} cannot be used: FFmpeg does not know the codec of its sound. Convert it to WAV.")
        rate = stream.codec_context.sample_rate or SAMPLE_RATE
        if rate > MAX_RATE:
            raise MediaError(f"{path} cannot be used: its sound claims {rate} samples a second. Export it again.")
        rate = _workable(rate, sample_rate)
        # FFmpeg's way from stereo to mono adds 3 dB to floats, and loud recordings clip: two channels are averaged.
        layout = "stereo" if stream.codec_context.channels == 2 else "mono"
        plain = av.AudioResampler("fltp", layout, rate)
        target = _Resampled(rate, sample_rate)
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
                        _check_length(path, (written + hole) / rate)
                        target.add(np.zeros(hole, np.float32))
                        written += hole
                frame.pts = None
                for piece in plain.resample(frame):
                    samples = piece.to_ndarray().mean(0, dtype=np.float32)
                    target.add(samples)
                    written += len(samples)
                _check_length(path, written / rate)
        for piece in plain.resample(None) if written else ():  # what FFmpeg holds back where it resamples
            target.add(piece.to_ndarray().mean(0, dtype=np.float32))
    if bad_packets > MAX_BAD_SHARE * total_packets:
        raise MediaError(
            f"{path}: {bad_packets} of {total_packets} packets of its sound cannot be decoded. Copy the file again."
        )
    if not written:
        raise MediaError(f"{path}: its audio track holds no samples. Record or export the sound again.")
    samples = target.finish()
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: its sound holds numbers that are not finite. Export it again.")
    return np.clip(samples, -1.0, 1.0)


def _workable(rate: int, target: int) -> int:
    """``rate`` in Hz, or the common one where torchaudio's filter from it to ``target`` would be too long."""
    common = math.gcd(rate, target)
    return rate if rate // common * (target // common) <= MAX_TAPS else COMMON_RATE


def _check_length(path: Path, seconds: float) -> None:
    if seconds > MAX_SOUND_S:
        raise MediaError(
            f"{path}: its sound would last {seconds / 3600:.0f} h, and {MAX_SOUND_S / 3600:.0f} h are read. Its "
            "timestamps may be damaged: convert it, or cut it."
        )


class _Resampled:
    """Sound that arrives in small pieces, at another rate and with little memory: an hour at 48 kHz is 0.7 GB.

    Long pieces are resampled with what lies around them, so that the whole is what it would be in one piece.
    """

    def __init__(self, rate: int, target: int) -> None:
        common = math.gcd(rate, target)
        self._rate, self._target = rate, target
        self._old, self._new = rate // common, target // common  # samples of one block, before and after
        self._margin = -(-MARGIN_SAMPLES // self._old) * self._old
        self._piece = max(1, round(PIECE_S * rate) // self._old) * self._old
        self._waiting: list[np.ndarray] = []
        self._num_waiting = self._num_before = 0  # samples held; how many of them have been resampled already
        self._done: list[np.ndarray] = []

    def add(self, samples: np.ndarray) -> None:
        """The next samples, float32 (L,)."""
        if self._rate == self._target:
            self._done.append(samples.copy())
            return
        self._waiting.append(samples)
        self._num_waiting += len(samples)
        if self._num_waiting >= self._num_before + self._piece + self._margin:
            held = np.concatenate(self._waiting)
            stop = self._num_before + self._piece
            self._resample(held[: stop + self._margin], stop)
            rest = held[max(0, stop - self._margin) :].copy()
            self._waiting, self._num_waiting, self._num_before = [rest], len(rest), min(stop, self._margin)

    def finish(self) -> np.ndarray:
        """All of it, float32 (L,)."""
        held = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        if len(held) > self._num_before:
            self._resample(held, None)
        return np.concatenate(self._done)

    def _resample(self, held: np.ndarray, stop: int | None) -> None:
        import torch
        import torchaudio.functional as audio_functional

        whole = audio_functional.resample(torch.from_numpy(held), self._rate, self._target).numpy()
        end = None if stop is None else stop // self._old * self._new
        self._done.append(whole[self._num_before // self._old * self._new : end].copy())
