import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.serving.sound import SoundMaker, make_sound


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_both_rates_hold_the_same_sound_at_the_same_time(rate):
    sound_L4 = make_sound(tone(rate), rate)
    assert abs(len(sound_L4) - 16000) <= 16
    inner = slice(400, 15000)
    expected = tone(16000)[inner]
    np.testing.assert_allclose(sound_L4[inner, 3], expected, atol=0.03)
    np.testing.assert_allclose(sound_L4[inner, 0], expected, atol=0.03)


def test_pieces_make_the_same_sound_as_the_whole():
    samples = tone(22050)
    maker = SoundMaker(22050)
    parts = [maker.add(samples[i : i + 441], is_last=i + 441 >= len(samples)) for i in range(0, len(samples), 441)]
    whole = make_sound(samples, 22050)
    joined = np.concatenate(parts)
    assert abs(len(joined) - len(whole)) <= 2
    np.testing.assert_allclose(joined[:15900], whole[:15900], atol=1e-4)


@pytest.mark.parametrize("rate", [0, -1, 7999, 10**9])
def test_a_rate_that_no_speech_has_is_refused(rate):
    with pytest.raises(MediaError, match="out of range"):
        SoundMaker(rate)
