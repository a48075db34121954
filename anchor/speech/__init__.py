"""Speech with known phonemes, and the mouth that belongs to it."""

from anchor.speech.espeak import ESPEAK_RATE, Phoneme, Speech, check_voice, speak
from anchor.speech.visemes import MOUTH_CHANNELS, mouth_track

__all__ = ["ESPEAK_RATE", "MOUTH_CHANNELS", "Phoneme", "Speech", "check_voice", "mouth_track", "speak"]
