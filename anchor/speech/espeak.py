"""Speech with known phonemes: espeak-ng through ctypes.

espeak-ng carries state from one call to the next (the same sentence twice in one process differs), and it seeds its
noise with the clock when it starts. So every call loads the library afresh, which takes less than a millisecond, and
seeds again: the sound is a function of the arguments alone, in any process, order and second.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np

from anchor.errors import ConfigError

__all__ = ["ESPEAK_RATE", "Phoneme", "Speech", "check_voice", "speak"]

ESPEAK_RATE = 22_050  # samples per second, fixed by espeak-ng

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 1
_EVENT_LIST_END, _EVENT_PHONEME = 0, 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_POSITION_CHARACTER, _TEXT_UTF8 = 1, 1
_RATE_WPM = (80, 450)

_one_at_a_time = threading.Lock()  # the library speaks for one caller at a time

Phoneme = tuple[str, float]  # (espeak's name, when it starts in seconds)


@dataclass(frozen=True)
class Speech:
    """A spoken sentence."""

    samples: np.ndarray  # float32 (L,) mono in [-1, 1]
    sample_rate: int  # samples per second
    phonemes: list[Phoneme]  # in order of their start; pauses are called "_" or "_:"

    @property
    def duration_s(self) -> float:
        """How long the sound lasts, in seconds."""
        return len(self.samples) / self.sample_rate


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, voice: str = "en-us", rate: int = 165, pitch: int = 50, pitch_range: int = 50) -> Speech:
    """``text`` spoken by espeak-ng, with the start of each phoneme.

    ``voice`` is a language of espeak-ng, optionally with a variant: ``en-us``, ``en-gb-x-rp+f3``, ``cmn``. ``rate``
    is in words per minute (80 to 450); ``pitch`` and ``pitch_range`` go from 0 to 100. The same arguments give the
    same samples, bit for bit.

    Raises:
        ConfigError: the voice or its variant is unknown, a number is out of its range, or the text is empty.
    """
    _check_range("rate", rate, *_RATE_WPM)
    _check_range("pitch", pitch, 0, 100)
    _check_range("pitch_range", pitch_range, 0, 100)
    if not text.strip():
        raise ConfigError("There is no text to speak. Give at least one word.")
    chunks: list[np.ndarray] = []
    phonemes: list[Phoneme] = []

    @_Callback
    def collect(samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        position = 0
        while events[position].type != _EVENT_LIST_END:
            event = events[position]
            if event.type == _EVENT_PHONEME:
                phonemes.append((event.phoneme.decode("utf8", "replace"), event.sample / ESPEAK_RATE))
            position += 1
        return 0  # go on

    with _one_at_a_time, _fresh_library() as library:
        _select_voice(library, voice)
        for parameter, value in ((_PARAMETER_RATE, rate), (_PARAMETER_PITCH, pitch), (_PARAMETER_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        library.espeak_SetSynthCallback(collect)
        encoded = text.encode() + b"\0"
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, _POSITION_CHARACTER, 0, _TEXT_UTF8, None, None)
    if not chunks:
        raise ConfigError(f"Voice {voice} has no sound for {text[:40]!r}. Give words of its language.")
    return Speech(np.concatenate(chunks).astype(np.float32) / 32768, ESPEAK_RATE, phonemes)


def check_voice(voice: str, rate: int = 165) -> None:
    """Raise a ``ConfigError`` unless espeak-ng has ``voice`` and speaks at ``rate``."""
    _check_range("rate", rate, *_RATE_WPM)
    with _one_at_a_time, _fresh_library() as library:
        _select_voice(library, voice)


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """espeak-ng as a new process would find it."""
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    try:
        rate = library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), _INITIALIZE_PHONEME_EVENTS
        )
        if rate != ESPEAK_RATE:
            raise ConfigError(f"espeak-ng did not start (its answer: {rate}). Reinstall the package espeakng-loader.")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # espeak_Initialize takes the time of day
        yield library
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)


def _select_voice(library: ctypes.CDLL, voice: str) -> None:
    base, plus, variant = voice.partition("+")
    if plus and variant not in _variants():  # espeak-ng itself would fall back in silence
        raise ConfigError(f"{voice}: espeak-ng has no variant {variant!r}. Variants are {', '.join(_variants())}.")
    if not base or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ConfigError(
            f"{voice}: espeak-ng has no voice {base!r}. Voices are named like en-us, en-gb-x-rp, en-gb-scotland or cmn."
        )


@functools.lru_cache(maxsize=1)
def _variants() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir()))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}={value} is out of range. Choose from {low} to {high}.")
