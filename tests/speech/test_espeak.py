import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from anchor.errors import ConfigError
from anchor.speech import ESPEAK_RATE, check_voice, speak
from anchor.synth.words import ENGLISH_BASES, ENGLISH_BASES_HELD_OUT, MANDARIN_BASES, VARIANTS

SENTENCE = "My happy mother bought purple bread."


def test_speech_is_sound_with_phonemes_in_order():
    speech = speak(SENTENCE)
    assert speech.sample_rate == ESPEAK_RATE
    assert speech.samples.dtype == np.float32
    assert 0.1 < np.abs(speech.samples).max() <= 1.0
    starts_s = [start_s for _, start_s in speech.phonemes]
    assert starts_s == sorted(starts_s)
    assert 0 <= starts_s[0] < 0.1
    assert starts_s[-1] <= speech.duration_s
    assert [name for name, _ in speech.phonemes][:2] == ["m", "aI"]


def test_the_same_sentence_sounds_the_same_whatever_was_said_before():
    first = speak(SENTENCE, "en-us+m3")
    speak("今天天气很好", "cmn+f1", rate=200, pitch=80)
    again = speak(SENTENCE, "en-us+m3")
    assert np.array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes


def test_the_second_in_which_it_is_said_does_not_matter():
    sounds = []
    for _ in range(2):
        sounds.append(speak(SENTENCE, "en-gb-x-rp+f3").samples)
        time.sleep(1.1)  # espeak-ng seeds its noise with the clock, in whole seconds
    assert np.array_equal(*sounds)


def test_a_fresh_process_says_the_same():
    script = (
        "import hashlib; from anchor.speech import speak;"
        f"print(hashlib.sha256(speak({SENTENCE!r}, 'en-gb-x-rp+f3').samples.tobytes()).hexdigest())"
    )
    answers = {subprocess.check_output([sys.executable, "-c", script], text=True).strip() for _ in range(2)}
    speak("something else first")
    answers.add(hashlib.sha256(speak(SENTENCE, "en-gb-x-rp+f3").samples.tobytes()).hexdigest())
    assert len(answers) == 1


def test_rate_and_pitch_change_the_sound():
    plain, fast, high = speak(SENTENCE), speak(SENTENCE, rate=250), speak(SENTENCE, pitch=90)
    assert fast.duration_s < 0.85 * plain.duration_s
    assert not np.array_equal(plain.samples[: len(high.samples)], high.samples[: len(plain.samples)])


@pytest.mark.parametrize("voice", ["", "klingonese", "en-gb", "en-us+nonexistent", "+f1", "en-us+"])
def test_an_unknown_voice_is_refused(voice):
    with pytest.raises(ConfigError, match="espeak-ng has no"):
        speak("hello", voice)


@pytest.mark.parametrize("arguments", [{"rate": 20}, {"pitch": 101}, {"pitch_range": -1}, {"text": " "}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigError):
        speak(**{"text": "hello", **arguments})


def test_every_voice_of_the_corpora_exists_and_held_out_voices_are_apart():
    trained = {
        f"{base}+{v}" for base in ENGLISH_BASES + MANDARIN_BASES for f in (0, 1) for v in VARIANTS[bool(f), False]
    }
    held_out = {
        f"{base}+{v}"
        for base in ENGLISH_BASES_HELD_OUT + MANDARIN_BASES
        for f in (0, 1)
        for v in VARIANTS[bool(f), True]
    }
    assert not trained & held_out
    for voice in trained | held_out:
        check_voice(voice)
