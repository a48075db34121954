"""Speech of an exact length, with pauses where they are wanted. Shape suffix: L samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anchor.speech import ESPEAK_RATE, Phoneme, speak
from anchor.synth.words import Voice, draw_text
from anchor.timing import SAMPLE_RATE

__all__ = ["Utterance", "resample", "speak_utterance"]

PAUSE_S = 0.8  # about how long one pause lasts
FADE_S = 0.01  # at the edges of a stretch of speech, against clicks
SETTLE_S = 0.12  # how long a mouth takes to come to rest after speech
SECONDS_PER_WORD = {"en": 0.36, "zh": 0.42}  # at 165 words per minute; low, so that text rarely runs out
PEAK = (0.4, 0.95)  # loudest sample of a clip


@dataclass(frozen=True)
class Utterance:
    """Speech of a known length."""

    samples: np.ndarray  # float32 (L,) mono at 16 kHz in [-1, 1]
    phonemes: list[Phoneme]  # (name, start in seconds); "_" is silence
    text: str
    pauses: list[tuple[float, float]]  # (start, end) in seconds
    duration_s: float

    def is_silent(self, times_s: np.ndarray) -> np.ndarray:
        """Whether nothing is said at these times, and the mouth has had time to come to rest: bool (T,)."""
        silent = (times_s < 0) | (times_s >= self.duration_s)
        for start_s, end_s in self.pauses:
            silent |= (times_s >= start_s + SETTLE_S) & (times_s <= end_s - SETTLE_S)
        return silent


def speak_utterance(rng: np.random.Generator, voice: Voice, duration_s: float, silence: float = 0.0) -> Utterance:
    """``voice`` speaking drawn sentences for ``duration_s``; ``silence`` in [0, 1] is the share spent in pauses."""
    samples_L = np.zeros(round(duration_s * ESPEAK_RATE), np.float32)
    phonemes: list[Phoneme] = []
    pauses: list[tuple[float, float]] = []
    texts: list[str] = []
    for start_s, end_s, is_pause in _plan(duration_s, silence):
        if is_pause:
            phonemes.append(("_", start_s))
            pauses.append((start_s, end_s))
            continue
        cursor_s = start_s
        while end_s - cursor_s > 2 * FADE_S:
            num_words = 3 + int((end_s - cursor_s) / SECONDS_PER_WORD[voice.language] * voice.rate / 165)
            text = draw_text(rng, voice.language, num_words)
            speech = speak(text, voice.name, voice.rate, voice.pitch, voice.pitch_range)
            first, stop = round(cursor_s * ESPEAK_RATE), min(round(end_s * ESPEAK_RATE), len(samples_L))
            piece_L = _faded(speech.samples[: stop - first])
            samples_L[first : first + len(piece_L)] = piece_L
            phonemes += [(name, cursor_s + at_s) for name, at_s in speech.phonemes if cursor_s + at_s < end_s]
            texts.append(text)
            cursor_s += speech.duration_s
    samples_L = resample(samples_L, ESPEAK_RATE, SAMPLE_RATE)
    samples_L *= rng.uniform(*PEAK) / max(1e-3, float(np.abs(samples_L).max(initial=0.0)))
    return Utterance(samples_L, phonemes, " ".join(texts), pauses, duration_s)


def resample(samples_L: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """``samples_L`` at another rate, float32, by cutting or padding its spectrum; sample 0 stays at time 0."""
    divisor = math.gcd(source_rate, target_rate)
    source_step, target_step = source_rate // divisor, target_rate // divisor
    num_steps = -(-len(samples_L) // source_step) + 2  # two steps of silence keep the end from leaking into the start
    padded_L = np.zeros(num_steps * source_step)
    padded_L[: len(samples_L)] = samples_L
    spectrum = np.fft.rfft(padded_L)[: num_steps * min(source_step, target_step) // 2]
    resampled_L = np.fft.irfft(spectrum, num_steps * target_step) * (target_step / source_step)
    return resampled_L[: round(len(samples_L) * target_rate / source_rate)].astype(np.float32)


def _plan(duration_s: float, silence: float) -> list[tuple[float, float, bool]]:
    """(start, end, whether it is a pause) of the stretches of a clip: speech, pause, speech, ..., speech."""
    if silence >= 1.0:
        return [(0.0, duration_s, True)]
    num_pauses = math.ceil(silence * duration_s / PAUSE_S)
    pause_s = silence * duration_s / max(1, num_pauses)
    speech_s = (1 - silence) * duration_s / (num_pauses + 1)
    plan: list[tuple[float, float, bool]] = []
    for number in range(2 * num_pauses + 1):
        start_s = plan[-1][1] if plan else 0.0
        is_pause = number % 2 == 1
        plan.append((start_s, start_s + (pause_s if is_pause else speech_s), is_pause))
    return plan


def _faded(samples_L: np.ndarray) -> np.ndarray:
    """A copy that rises from and falls to zero within ``FADE_S``."""
    length = min(round(FADE_S * ESPEAK_RATE), len(samples_L) // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    faded_L = samples_L.copy()
    faded_L[:length] *= ramp
    faded_L[len(faded_L) - length :] *= ramp[::-1]
    return faded_L
