import numpy as np
import pytest

from anchor.speech import mouth_track, speak
from anchor.speech.visemes import PHONEMES, SHAPES, STRESS_MARKS, is_closure, is_pause, mouth_shapes
from anchor.synth.words import ENGLISH_WORDS, MANDARIN_PHRASES

OPENING, SPREAD, ROUND, TEETH, TONGUE = range(5)


def middles(phonemes, wanted, duration_s):
    """The middle of each phoneme that ``wanted`` accepts, in seconds."""
    ends_s = [start_s for _, start_s in phonemes[1:]] + [duration_s]
    return np.array([(s + e) / 2 for (name, s), e in zip(phonemes, ends_s, strict=True) if wanted(name)])


@pytest.mark.parametrize(
    ("text", "voice"),
    [("My happy mother and father bought a big purple paper map.", "en-us"), ("妈妈不要买面包，爸爸爬山", "cmn")],
)
def test_lips_meet_at_p_b_m_and_part_at_open_vowels(text, voice):
    speech = speak(text, voice)
    closed = mouth_track(speech.phonemes, speech.duration_s, middles(speech.phonemes, is_closure, speech.duration_s))
    vowels = middles(speech.phonemes, lambda name: name.lstrip(STRESS_MARKS)[:1] in tuple("aA"), speech.duration_s)
    open_ = mouth_track(speech.phonemes, speech.duration_s, vowels)
    assert len(closed) > 3
    assert closed[:, OPENING].max() < 0.08
    assert open_[:, OPENING].mean() > 0.55


def test_the_track_is_smooth_bounded_and_rests_outside_the_speech():
    speech = speak("Why do we follow every butterfly?")
    times_s = np.arange(-10, speech.duration_s * 25 + 20) / 25
    track = mouth_track(speech.phonemes, speech.duration_s, times_s)
    assert track.shape == (len(times_s), 5)
    assert track.dtype == np.float32
    assert track.min() >= 0
    assert track.max() <= 1
    assert track[:10, OPENING].max() < 0.05  # before the sound
    assert track[-10:, OPENING].max() < 0.05  # after it
    assert track[:, OPENING].std() > 0.15


def test_shapes_tell_sounds_apart():
    assert mouth_shapes("'u:")[0].round > 0.9
    assert mouth_shapes("i:")[0].spread > 0.9
    assert mouth_shapes("f")[0].teeth == 1.0
    assert [shape.opening for shape in mouth_shapes("aI")] == [SHAPES["a"].opening, SHAPES["ih"].opening]
    assert mouth_shapes("no such phoneme")  # still a mouth


@pytest.mark.parametrize(
    ("voice", "words"), [("en-us", ENGLISH_WORDS), ("en-gb-scotland", ENGLISH_WORDS), ("cmn", MANDARIN_PHRASES)]
)
def test_every_phoneme_of_the_vocabulary_is_known(voice, words):
    names = {name.lstrip(STRESS_MARKS) for name, _ in speak(" ".join(words), voice).phonemes if not is_pause(name)}
    unknown = {name for name in names if name != "_|" and not any(name[:length] in PHONEMES for length in (1, 2, 3))}
    assert not unknown


def test_two_neighbours_blend():
    times_s = np.linspace(0, 0.4, 81)
    track = mouth_track([("a", 0.0), ("u:", 0.2)], 0.4, times_s)
    rounding = track[:, ROUND]
    assert np.all(np.diff(rounding[20:60]) >= -1e-6)  # a monotone glide ...
    assert np.abs(np.diff(rounding)).max() < 0.1  # ... without a jump
