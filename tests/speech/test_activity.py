"""Speech and noise made here: what counts as speech, and when."""

import numpy as np
import pytest

from anchor.speech.activity import ONSET_PIECES, PIECE, QUIET_S, VoiceActivity
from anchor.speech.echo import Echo
from anchor.speech.espeak import speak
from anchor.studio.narration import resample

RATE = 16_000


def said(text="Good evening, what is the weather like tomorrow?", voice="en-us", level=0.1):
    speech = speak(text, voice)
    samples = resample(speech.samples, speech.sample_rate, RATE)
    return samples * (level / np.sqrt((samples**2).mean()))


def noise(seconds, level=0.003, seed=0, colour="white"):
    samples = np.random.default_rng(seed).normal(0, 1, round(RATE * seconds))
    if colour == "brown":
        samples = np.cumsum(samples)
        samples -= np.convolve(samples, np.ones(400) / 400, "same")
    return (samples * level / np.sqrt((samples**2).mean())).astype(np.float32)


def within(background, sound, at_s):
    """``sound`` laid over ``background``."""
    mixed, place = background.copy(), round(at_s * RATE)
    mixed[place : place + len(sound)] += sound[: len(mixed) - place]
    return mixed


def events(samples, played=None, delay_s=0.0, detector=None):
    """(what, s) of everything that the detector tells."""
    detector, told = detector or VoiceActivity(), []
    for begin in range(0, len(samples) - PIECE + 1, PIECE):
        if played is not None:
            detector.play(played[begin : begin + PIECE])
        if what := detector.add(samples[begin : begin + PIECE].astype(np.float32)):
            told.append((what, (begin + PIECE) / RATE))
    return told


def onset(speech, level=0.02):
    """When speech is first as loud as ``level``, in seconds."""
    return float(np.flatnonzero(np.abs(speech) > level)[0] / RATE)


@pytest.mark.parametrize(("colour", "level"), [("white", 0.0), ("white", 0.003), ("white", 0.02), ("brown", 0.02)])
@pytest.mark.parametrize("voice", ["en-us", "cmn"])
def test_speech_begins_and_ends_where_it_does(colour, level, voice):
    speech = said("今天天气很好，我们出去走走吧。" if voice == "cmn" else "Good evening, how is the weather?", voice)
    mixed = within(
        noise(len(speech) / RATE + 3, level, colour=colour) if level else np.zeros(len(speech) + 3 * RATE), speech, 1.0
    )
    told = events(mixed)
    assert [what for what, _ in told] == ["begins", "ends"]
    late_s = told[0][1] - (1.0 + onset(speech))
    assert -0.05 <= late_s <= ONSET_PIECES * 0.02 + 0.1, "a few pieces after the first sound"
    end_s = 1.0 + float(np.flatnonzero(np.abs(speech) > 0.05)[-1] / RATE)
    assert QUIET_S - 0.25 <= told[1][1] - end_s <= QUIET_S + 0.3


@pytest.mark.parametrize("level", [0.001, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("colour", ["white", "brown"])
def test_noise_is_no_speech_however_loud(level, colour):
    assert events(noise(6, level, colour=colour)) == []


def test_a_fan_that_is_switched_on_and_clicks_of_keys_are_no_speech():
    sound = within(noise(8, 0.002), noise(4, 0.05, seed=1), 3.0)
    for at_s in np.arange(0.5, 7.5, 0.35):
        sound = within(sound, noise(0.012, 0.5, seed=2), at_s)
    assert events(sound) == []


def test_hum_is_no_speech():
    time_s = np.arange(6 * RATE) / RATE
    hum = sum(0.02 / k * np.sin(2 * np.pi * 50 * k * time_s) for k in range(1, 9))
    assert events(hum + noise(6, 0.001)) == []


def test_a_pause_within_a_sentence_does_not_end_it():
    first = np.trim_zeros(said("Good evening."))
    sound = within(within(noise(7), first, 0.5), said("And good night."), 0.5 + len(first) / RATE + 0.2)
    told = events(sound)
    assert [what for what, _ in told] == ["begins", "ends"]


def test_what_was_said_has_its_beginning_and_is_bounded():
    detector, speech = VoiceActivity(), said()
    events(within(noise(5), speech, 1.0), detector=detector)
    taken = detector.take()
    assert len(speech) / RATE <= len(taken) / RATE <= len(speech) / RATE + 1.4
    assert len(detector.take()) == 0
    endless = np.concatenate([said()] * 15)
    told = events(endless)
    assert told[1][0] == "ends"
    assert told[1][1] < 21


def echo_of(played, gain, delay_s=0.18, seed=3):
    """What a room gives back of loudspeakers: late, with reverberation."""
    tail = np.random.default_rng(seed).normal(0, 1, 2400) * np.exp(-np.arange(2400) / 500)
    room = np.concatenate([np.zeros(round(delay_s * RATE)), [1.0], 0.3 * tail / np.sqrt((tail**2).sum())])
    return (gain * np.convolve(played, room)[: len(played)]).astype(np.float32)


@pytest.mark.parametrize("gain", [0.7, 0.5, 0.1, 0.04, 0.02])
def test_the_anchors_own_voice_from_the_loudspeakers_is_no_speech(gain):
    played = np.concatenate([np.zeros(RATE, np.float32), *[said()] * 3, np.zeros(RATE, np.float32)])
    assert events(echo_of(played, gain) + noise(len(played) / RATE, 0.002)[: len(played)], played) == []


def test_somebody_who_speaks_into_its_first_words_is_heard():
    played = said()
    speech = said("Stop it, please, and listen to me!", "en-gb-x-rp+f3", level=0.12)
    heard = echo_of(np.concatenate([np.zeros(RATE // 2, np.float32), played]), 0.1)
    given = np.concatenate([np.zeros(RATE // 2, np.float32), played])
    told = events(within(heard + noise(len(heard) / RATE, 0.002)[: len(heard)], speech, 1.0), given)
    assert told
    assert told[0][1] - (1.0 + onset(speech)) < 0.5


@pytest.mark.parametrize("gain", [0.2, 0.05])
def test_somebody_who_speaks_into_the_anchors_voice_is_heard_at_once(gain):
    played = np.concatenate([np.zeros(RATE // 2, np.float32), *[said()] * 3])
    heard = echo_of(played, gain) + noise(len(played) / RATE, 0.002)[: len(played)]
    speech = said("Stop it, please, and listen to me!", "en-gb-x-rp+f3", level=0.12)
    told = events(within(heard, speech, 4.0), played)
    assert told
    assert told[0][0] == "begins"
    late_s = told[0][1] - (4.0 + onset(speech))
    assert 0 <= late_s < 0.4, f"{late_s:.2f} s"


def test_an_echo_that_comes_later_than_before_is_no_speech():
    """A browser's buffer grows by 0.16 s in the middle of a sentence."""
    played = np.concatenate([np.zeros(RATE // 2, np.float32), *[said()] * 3, np.zeros(RATE, np.float32)])
    heard, later = (echo_of(played, 0.4, delay_s) for delay_s in (0.18, 0.34))
    heard[4 * RATE :] = later[4 * RATE :]
    assert events(heard + noise(len(played) / RATE, 0.002)[: len(played)], played) == []


def test_a_quiet_voice_is_heard_over_an_echo_that_is_known():
    played = np.concatenate([np.zeros(RATE // 2, np.float32), *[said()] * 3])
    heard = echo_of(played, 0.3) + noise(len(played) / RATE, 0.002)[: len(played)]
    told = events(within(heard, said("Stop it, please, and listen to me!", "en-gb-x-rp+f3", level=0.08), 4.0), played)
    assert told
    assert 4.0 < told[0][1] < 4.6


def test_the_delay_of_an_echo_is_learnt_and_of_another_voice_none():
    echo, random = Echo(8, 1e-3), np.random.default_rng(0)
    played, other = np.exp(random.normal(0, 1.5, (2, 200, 8)))
    for number in range(100):
        echo.play(played[number])
        echo.hear(other[number], np.full(8, 1e-4), is_speech=False)
    assert echo.delay is None
    assert not echo.follows
    for number in range(100, 200):
        echo.play(played[number])
        echo.hear(0.1 * played[number - 13] + 0.001, np.full(8, 1e-4), is_speech=False)
    assert echo.delay == 13
    assert echo.follows
