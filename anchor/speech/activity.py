"""When somebody speaks into a microphone: sound in pieces of 20 ms, beginnings and ends of speech out.

A piece counts where it is louder than the noise around and than the echo of what is played, in several bands, has the
peaks that voices have and noise has not, and is not shaped like what was just played.

Shape suffixes: L samples of 16 kHz, B bands, K frequencies.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from anchor.speech.echo import Echo
from anchor.timing import SAMPLE_RATE

__all__ = ["ONSET_PIECES", "PIECE", "VoiceActivity"]

PIECE = SAMPLE_RATE // 50  # samples, 20 ms
PIECE_S = PIECE / SAMPLE_RATE
EDGES_HZ = (150, 300, 500, 800, 1200, 1800, 2700, 4000, 6000)  # about a critical band and a half each
NEEDED_BANDS = 3
ABOVE = 8.0  # times the power of noise, 9 dB
ABOVE_ECHO = 2.5  # times the loudest echo of late, 4 dB
QUIETEST = 3e-6  # mean power of a piece, -55 dBFS: below it nobody is heard
FLATNESS = 0.42  # geometric over arithmetic mean of the spectrum: white noise has 0.56, a voiced sound less than 0.2
ONSET, ONSET_PIECES = 3, 4  # so many of the last so many pieces begin speech: a click is shorter
VOICED = 2  # of them must have a voice's peaks
QUIET_S = 0.6  # of silence end it: a pause within a sentence is shorter
LONGEST_S = 20.0
BEFORE_S = 0.3  # of sound from before the beginning belong to it
NOISE_RISE, NOISE_FALL, NOISE_CREEP = 0.05, 0.1, 1.002  # of the noise that is known, each piece
SETTLE = 10  # pieces in which the noise is learnt first

_WINDOW = np.hanning(PIECE).astype(np.float32)
_HZ = np.fft.rfftfreq(512, 1 / SAMPLE_RATE)
_STARTS = np.searchsorted(_HZ, EDGES_HZ)
_SPOKEN = slice(int(_STARTS[0]), int(_STARTS[7]))  # 150 to 4000 Hz


@dataclass
class VoiceActivity:
    """Tells beginnings and ends. ``is_speech`` is its state, ``take`` hands out what was said."""

    is_speech: bool = False
    _recent: deque[tuple[bool, bool]] = field(default_factory=lambda: deque(maxlen=ONSET_PIECES))
    _before: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=round(BEFORE_S / PIECE_S)))
    _said: list[np.ndarray] = field(default_factory=list)
    _quiet: int = 0  # pieces since the last that counted
    _noise_B: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_HZ) - 1))
    _num_settled: int = 0
    _echo: Echo = field(default_factory=lambda: Echo(len(EDGES_HZ) - 1, QUIETEST * PIECE))

    def play(self, samples_L: np.ndarray) -> None:
        """Note what the speakers are given, float32 (L,) in whole pieces: its echo is not speech."""
        for begin in range(0, len(samples_L) - PIECE + 1, PIECE):
            self._echo.play(_bands(_spectrum(samples_L[begin : begin + PIECE])))

    def add(self, piece_L: np.ndarray) -> str:
        """Take a piece, float32 (320,) in [-1, 1]; ``"begins"``, ``"ends"`` or an empty string."""
        power_K = _spectrum(piece_L)
        power_B = _bands(power_K)
        self._echo.hear(power_B, self._noise_B, self.is_speech)
        counts = self._counts(piece_L, power_B)
        spoken_K = power_K[_SPOKEN] + 1e-12
        is_voiced = float(np.exp(np.log(spoken_K).mean()) / spoken_K.mean()) < FLATNESS
        self._learn(power_B, counts and is_voiced)
        self._recent.append((counts, counts and is_voiced))
        if not self.is_speech:
            self._before.append(piece_L)
            if sum(one for one, _ in self._recent) >= ONSET and sum(one for _, one in self._recent) >= VOICED:
                self.is_speech, self._quiet = True, 0
                self._said = list(self._before)
                self._before.clear()
                return "begins"
            return ""
        self._said.append(piece_L)
        self._quiet = 0 if counts else self._quiet + 1
        if self._quiet * PIECE_S >= QUIET_S or len(self._said) * PIECE_S >= LONGEST_S:
            self.is_speech = False
            self._recent.clear()
            return "ends"
        return ""

    def take(self) -> np.ndarray:
        """What was said, float32 (L,) of 16 kHz, with a little from before."""
        said, self._said = self._said, []
        return np.concatenate(said) if said else np.zeros(0, np.float32)

    def _counts(self, piece_L: np.ndarray, power_B: np.ndarray) -> bool:
        if self._num_settled < SETTLE:
            self._num_settled += 1
            self._noise_B = self._noise_B + (power_B - self._noise_B) / self._num_settled
            return False
        limit_B = ABOVE * self._noise_B + ABOVE_ECHO * self._echo.loudest()
        is_loud = int((power_B > limit_B).sum()) >= NEEDED_BANDS and float((piece_L**2).mean()) > QUIETEST
        return is_loud and (self.is_speech or not self._echo.follows)

    def _learn(self, power_B: np.ndarray, is_voice: bool) -> None:
        if self.is_speech or is_voice:
            self._noise_B *= NOISE_CREEP
        else:
            rise_B = np.where(self._echo.loudest() > ABOVE * self._noise_B, 0.0, NOISE_RISE)  # an echo is no noise
            self._noise_B += np.where(power_B > self._noise_B, rise_B, NOISE_FALL) * (power_B - self._noise_B)
        if not self.is_speech:
            self._echo.learn(power_B)


def _spectrum(piece_L: np.ndarray) -> np.ndarray:
    return (np.abs(np.fft.rfft(piece_L * _WINDOW, 512)) ** 2).astype(np.float64)


def _bands(power_K: np.ndarray) -> np.ndarray:
    """Power in each band."""
    return np.add.reduceat(power_K, _STARTS)[:-1]
