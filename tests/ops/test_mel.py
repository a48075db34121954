import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.ops import mel as mel_module
from anchor.ops.mel import log_mel, mel_config_hash
from anchor.timing import MEL_FLOOR


def slaney_hz_to_mel(hz):
    hz = np.asarray(hz, float)
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) / (np.log(6.4) / 27))


def slaney_mel_to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))


def plain_log_mel(samples):
    """The published recipe in numpy alone, written from its description."""
    wave = np.concatenate([samples[:1], samples[1:] - 0.97 * samples[:-1]]).astype(np.float64)
    padded = np.pad(wave, 400, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)
    steps = 1 + len(samples) // 200
    spectrum = np.abs(np.stack([np.fft.rfft(window * padded[200 * s : 200 * s + 800]) for s in range(steps)]))
    edges = slaney_mel_to_hz(np.linspace(slaney_hz_to_mel(55.0), slaney_hz_to_mel(7600.0), 82))
    bins = np.linspace(0, 8000, 401)
    filters = np.zeros((80, 401))
    for m in range(80):
        low, middle, high = edges[m : m + 3]
        rise, fall = (bins - low) / (middle - low), (high - bins) / (high - middle)
        filters[m] = np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)
    decibel = 20 * np.log10(np.maximum(1e-5, spectrum @ filters.T)) - 20
    return np.clip((decibel + 100) / 100 * 8 - 4, -4, 4)


@pytest.mark.parametrize("length", [401, 640, 16_000, 33_333])
def test_equals_the_recipe_in_plain_numpy(length):
    rng = np.random.default_rng(length)
    samples = (0.2 * rng.standard_normal(length) * np.abs(np.sin(np.arange(length) / 900))).astype(np.float32)
    mel = log_mel(samples)
    assert mel.dtype == np.float32
    assert mel.shape == (1 + length // 200, 80)
    np.testing.assert_allclose(mel, plain_log_mel(samples), atol=2e-3)


@pytest.mark.parametrize("length", [0, 1, 199, 200, 400])
def test_takes_very_short_sound(length):
    mel = log_mel(np.zeros(length, np.float32))
    assert mel.shape == (1 + length // 200, 80)
    assert (mel == MEL_FLOOR).all()


def test_stays_in_range():
    mel = log_mel(np.sign(np.random.default_rng(0).standard_normal(8000)).astype(np.float32))
    assert mel.min() >= -4
    assert mel.max() <= 4


@pytest.mark.parametrize("samples", [np.zeros((2, 800), np.float32), np.zeros(800, np.int16)])
def test_refuses_what_is_no_mono_float_sound(samples):
    with pytest.raises(MediaError, match="one channel"):
        log_mel(samples)


def test_names_the_time_of_a_number_that_is_not_finite():
    samples = np.zeros(16_000, np.float32)
    samples[8000] = np.nan
    with pytest.raises(MediaError, match=r"0\.500 s"):
        log_mel(samples)


def test_the_hash_follows_the_parameters(monkeypatch):
    before = mel_config_hash()
    assert before == mel_config_hash()
    monkeypatch.setitem(mel_module.MEL_PARAMETERS, "n_fft", 1024)
    assert mel_config_hash() != before
