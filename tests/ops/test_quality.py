"""The laws of the measures: what must raise them, what must lower them, and what must not touch them."""

import itertools

import cv2
import numpy as np
import pytest

from anchor.faces import crop_face
from anchor.ops import quality
from anchor.timing import SAMPLE_RATE


@pytest.fixture
def picture():
    """A texture with detail of every size, uint8 RGB, 192 px."""
    rng = np.random.default_rng(0)
    layers = [cv2.resize(rng.normal(0, 1, (n, n)), (192, 192), interpolation=cv2.INTER_CUBIC) for n in (6, 24, 96, 192)]
    grey = 128 + 25 * layers[0] + 12 * layers[1] + 8 * layers[2] + 4 * layers[3]
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def speech():
    """Four seconds of bursts of noise at -20 dB: active two thirds of the time."""
    times = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(1).standard_normal(len(times))
    return (0.1 * noise * (times % 1 < 0.6)).astype(np.float32)


def test_blur_lowers_sharpness_step_by_step(picture):
    blurred = [picture, *(cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (0.7, 1.5, 3, 6))]
    values = [quality.sharpness(one) for one in blurred]
    assert all(sharp > soft + 0.02 for sharp, soft in itertools.pairwise(values))
    assert 0 <= values[-1] < values[0] <= 1


def test_scaling_down_and_up_lowers_sharpness_step_by_step(picture):
    small = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) for size in (192, 96, 48, 24)]
    values = [quality.sharpness(cv2.resize(one, (192, 192), interpolation=cv2.INTER_CUBIC)) for one in small]
    assert all(sharp > soft for sharp, soft in itertools.pairwise(values))


def test_sharpness_knows_neither_brightness_nor_contrast(picture):
    sharp = quality.sharpness(picture)
    half = (picture.astype(float) * 0.5 + 20).astype(np.uint8)
    assert quality.sharpness(half) == pytest.approx(sharp, abs=0.02)
    assert quality.sharpness(np.full_like(picture, 90)) == 0


def test_the_size_of_the_face_in_the_picture_does_not_matter(picture):
    """The same face, with the same detail, twice as large in a picture of twice the size."""
    large = cv2.resize(picture, (384, 384), interpolation=cv2.INTER_CUBIC)
    one = quality.sharpness(crop_face(picture, (0, 0, 192, 192), 192))
    two = quality.sharpness(crop_face(large, (0, 0, 384, 384), 192))
    assert two == pytest.approx(one, abs=0.05)


def test_brightness_moves_exposure(picture):
    plain, dim = quality.exposure(picture), quality.exposure((picture * 0.5).astype(np.uint8))
    assert dim.luma == pytest.approx(plain.luma / 2, abs=0.5)
    assert dim.contrast == pytest.approx(plain.contrast / 2, rel=0.02)
    assert (plain.dark_share, plain.bright_share) == (0, 0)
    burnt = quality.exposure(np.clip(picture.astype(int) + 122, 0, 255).astype(np.uint8))
    assert burnt.bright_share > 0.3
    assert quality.exposure(np.clip(picture.astype(int) - 112, 0, 255).astype(np.uint8)).dark_share > 0.3


def test_the_background_does_not_move_exposure(picture):
    framed = picture.copy()
    framed[:, :30] = framed[:, -30:] = 255
    assert quality.exposure(framed).luma == quality.exposure(picture).luma


@pytest.mark.parametrize("gain_db", [-12.0, 6.0])
def test_gain_moves_levels_by_as_much(speech, gain_db):
    louder = speech * 10 ** (gain_db / 20)
    level_db, activity = quality.speech_level(speech)
    louder_db, same = quality.speech_level(louder)
    assert louder_db - level_db == pytest.approx(gain_db, abs=0.2)
    assert same == pytest.approx(activity, abs=0.02)


def test_pauses_do_not_lower_the_level_of_speech(speech):
    level_db, activity = quality.speech_level(speech)
    assert level_db == pytest.approx(-20, abs=2)  # the 0.2 s after a burst count as active
    paused_db, less = quality.speech_level(np.concatenate([speech, np.zeros_like(speech)]))
    assert paused_db == pytest.approx(level_db, abs=0.3)
    assert less == pytest.approx(activity / 2, abs=0.05)


def test_levels_of_known_sounds():
    sine = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert quality.speech_level(sine)[0] == pytest.approx(-3.01, abs=0.2)
    assert quality.frame_levels(sine) == pytest.approx(np.full(25, -3.01), abs=0.1)
    assert quality.speech_level(np.zeros(SAMPLE_RATE, np.float32)) == (quality.FLOOR_DB, 0.0)
    assert quality.speech_level(np.zeros(0, np.float32)) == (quality.FLOOR_DB, 0.0)


def test_half_silence_is_half_silent(speech):
    loud = np.random.default_rng(2).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
    assert quality.silence_share(np.concatenate([loud, np.zeros_like(loud)])) == pytest.approx(0.5, abs=0.02)
    assert quality.silence_share(loud) == 0
    assert quality.silence_share(np.zeros(10, np.float32)) == 1.0


def test_noise_is_heard_between_the_words(speech):
    noise = 0.001 * np.random.default_rng(3).standard_normal(len(speech)).astype(np.float32)
    assert quality.noise_level(speech + noise) == pytest.approx(-60, abs=1)
    assert quality.noise_level(speech + 10 * noise) == pytest.approx(-40, abs=1)


def test_clipping_counts_what_stands_at_full_scale(speech):
    assert quality.clipped_share(speech) == 0
    shares = [quality.clipped_share(np.clip(speech * gain, -1, 1)) for gain in (8, 16, 32)]
    assert 0 < shares[0] < shares[1] < shares[2]
    assert quality.clipped_share(np.array([[0.5, 1.0], [-1.0, 0.0]])) == 0.5
