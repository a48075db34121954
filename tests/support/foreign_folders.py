"""What folders of other projects hold, made small."""

import wave

import numpy as np


def write_wav(path, seconds, rate=16000):
    """A tone of 300 Hz, 16 bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        tone = np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 300 / rate) * 9000
        file.writeframes(tone.astype("<i2").tobytes())
