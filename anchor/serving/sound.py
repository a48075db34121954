"""Sound of any rate as the two that a session needs: 48 kHz for people, 16 kHz for the network."""

from __future__ import annotations

import av
import numpy as np

from anchor.errors import MediaError
from anchor.timing import SAMPLE_RATE

__all__ = ["LISTENING_RATE", "SoundMaker", "make_sound"]

LISTENING_RATE = 3 * SAMPLE_RATE  # 48 kHz, what Opus and browsers work in
RATES = (8_000, 96_000)


class SoundMaker:
    """A stream of mono samples of one rate, in pieces, to ``sound_L4`` of :mod:`anchor.serving.timeline`.

    The two resamplers hold back a few samples between pieces; ``is_last`` lets them out.
    """

    def __init__(self, rate: int) -> None:
        if not RATES[0] <= rate <= RATES[1]:
            raise MediaError(f"Speech of {rate} Hz is out of range. Send {RATES[0]} to {RATES[1]} Hz.")
        self._rate = rate
        self._resamplers = [
            av.AudioResampler(format="fltp", layout="mono", rate=target) for target in (LISTENING_RATE, SAMPLE_RATE)
        ]
        self._rest = [np.zeros(0, np.float32), np.zeros(0, np.float32)]

    def add(self, samples: np.ndarray, is_last: bool = False) -> np.ndarray:
        """float32 mono samples in [-1, 1] to float32 (L, 4)."""
        for i, resampler in enumerate(self._resamplers):
            parts = [self._rest[i]]
            if len(samples):
                frame = av.AudioFrame.from_ndarray(np.asarray(samples, np.float32)[None], "fltp", "mono")
                frame.sample_rate = self._rate
                parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
            if is_last:
                parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
            self._rest[i] = np.concatenate(parts)
        listening, heard = self._rest
        length = min(len(listening) // 3, len(heard))
        if is_last:  # the two may differ by a sample
            length = max(-(-len(listening) // 3), len(heard))
            listening = np.pad(listening, (0, max(0, 3 * length - len(listening))))
            heard = np.pad(heard, (0, max(0, length - len(heard))))
        self._rest = [listening[3 * length :], heard[length:]]
        return np.concatenate([listening[: 3 * length].reshape(length, 3), heard[:length, None]], 1)


def make_sound(samples: np.ndarray, rate: int) -> np.ndarray:
    """A whole piece of speech to ``sound_L4``."""
    return SoundMaker(rate).add(samples, is_last=True)
