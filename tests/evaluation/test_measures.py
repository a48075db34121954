"""One number beside the real one: each has its law."""

import numpy as np
import pytest
import torch

from anchor.evaluation.drawing import held_moments
from anchor.evaluation.measures import (
    held_sums,
    jitter_sums,
    landmark_jitter_sums,
    leak_sums,
    mouth_psnr,
    open_threshold,
    pixel_jitter_ratio,
    pixel_motion,
    sharpness_ratio,
    silent_frames,
)
from anchor.metrics import ms_ssim, ssim
from anchor.timing import MEL_FLOOR


@pytest.fixture
def faces():
    """60 smooth frames of 64 px whose lower half swings."""
    y, x = np.mgrid[:64, :64] / 64
    rows = [128 + 60 * np.sin(9 * x + 5 * y) + 40 * (0.3 + (y > 0.5)) * np.sin(0.5 * t + 6 * x) for t in range(60)]
    return np.repeat(np.stack(rows).clip(0, 255).astype(np.uint8)[..., None], 3, 3)


def _trembling(faces, grey=12):
    shaken = faces.astype(int)
    shaken[::2, 32:] += grey
    return shaken.clip(0, 255).astype(np.uint8)


def test_a_copy_is_natural(faces):
    assert pixel_jitter_ratio(faces, faces) == 1
    assert sharpness_ratio(faces, faces) == 1
    assert mouth_psnr(faces, faces) == pytest.approx(60, abs=0.01)


def test_trembling_counts_where_it_is(faces):
    shaken = _trembling(faces)
    assert pixel_jitter_ratio(shaken, faces) > 2
    assert pixel_jitter_ratio(shaken, faces, "lower") > 2
    assert pixel_jitter_ratio(shaken, faces, "upper") == 1
    assert pixel_jitter_ratio(np.repeat(faces[:1], 60, 0), faces) == pytest.approx(0, abs=1e-6)


def test_movement_with_held_speech_leaves_the_jumps_between_moments_out(faces):
    moments = np.arange(40) // 20
    jumping = faces[20 * moments]  # still, but for the one jump
    assert held_sums(jumping, faces, moments) == (0, pytest.approx(held_sums(faces[:40], faces, moments)[0]))
    half = faces[np.arange(40) // 2 * 2]  # moves in every other frame
    held, own = held_sums(half, faces, moments)
    assert 0 < own < 2 * held
    assert held_sums(faces[:0], faces, moments[:0]) == (0, 0)


def test_the_speech_is_held_at_the_middle_of_every_two_seconds():
    assert set(held_moments(1000)) == {25, 75, 125, 175}
    assert len(held_moments(1000)) == 200
    assert set(held_moments(20)) == {10}
    assert list(held_moments(60)[48:52]) == [25, 25, 55, 55]


def test_jitter_of_chosen_frames_needs_all_three(faces):
    chosen = np.zeros(60, bool)
    chosen[10:14] = True
    shaken = faces.copy()
    shaken[30:] = _trembling(faces)[30:]
    assert pixel_jitter_ratio(shaken, faces, chosen_T=chosen) == 1
    assert jitter_sums(faces, faces, chosen_T=chosen & (np.arange(60) % 2 == 0)) == (0, 0)
    assert np.isnan(pixel_jitter_ratio(faces[:2], faces[:2]))
    pieces = [jitter_sums(shaken[part], faces[part]) for part in (slice(0, 31), slice(29, 60))]
    assert np.sum(pieces, 0) == pytest.approx(jitter_sums(shaken, faces), rel=1e-5)  # triples are counted once


def test_landmarks_tremble_in_their_own_unit():
    time = np.arange(50)[:, None, None]
    real = np.sin(0.3 * time + np.arange(8)[None, :, None]) * np.array([0.1, 0.2])
    drawn = real.copy()
    assert np.divide(*landmark_jitter_sums(3 * real, 3 * real)) == 1
    drawn[::2] += 0.1
    assert np.divide(*landmark_jitter_sums(drawn, real)) > 2
    drawn[20] = np.nan
    lost, kept = landmark_jitter_sums(drawn, real)
    assert np.isfinite(lost)
    assert kept < landmark_jitter_sums(real, real)[0]


def test_blur_is_seen(faces):
    noisy = (faces // 2 + np.random.default_rng(0).integers(0, 90, faces.shape)).astype(np.uint8)
    blurred = np.stack([np.roll(noisy, k, 2).astype(float) for k in range(3)]).mean(0).astype(np.uint8)
    assert sharpness_ratio(blurred, noisy) < 0.5
    assert sharpness_ratio(noisy, faces) > 2


def test_silence_is_what_is_far_from_any_sound():
    mel = np.full((400, 80), MEL_FLOOR, np.float32)
    assert silent_frames(mel, 125).all()
    mel[160:240] = 2.0  # frames 50 to 74
    silent = silent_frames(mel, 125)
    assert not silent[45:80].any()
    assert silent[:44].all()
    assert silent[81:].all()
    assert (silent_frames(mel, 50, 40) == silent[40:90]).all()
    assert silent_frames(mel, 200)[125:].all()  # beyond the clip nothing is said
    hum = np.maximum(mel, -0.5)  # noise 31 dB below the speech is not silence
    assert not silent_frames(hum, 125)[:110].any()


def test_a_leak_is_a_share_of_the_silent_frames():
    opening = np.array([0.0, 0.5, 0.0, 1.0, np.nan, 0.1])
    silent = np.array([True, True, True, False, True, True])
    threshold = open_threshold(np.linspace(0, 1, 101))
    assert threshold == pytest.approx(0.05 + 0.3 * 0.9)
    assert leak_sums(opening, threshold, silent) == (1, 4)
    assert leak_sums(opening, threshold, np.zeros(6, bool)) == (0, 0)


def test_motion_has_a_value_for_every_frame(faces):
    motion = pixel_motion(faces)
    assert motion.shape == (60,)
    assert motion[0] == motion[1] > 0


def test_ms_ssim_is_that_of_the_literature():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    torch.manual_seed(0)
    real = torch.nn.functional.interpolate(torch.randn(2, 3, 24, 24), size=192, mode="bicubic").clamp(-1, 1)
    drawn = (real + 0.2 * torch.randn_like(real)).clamp(-1, 1)
    theirs = multiscale_structural_similarity_index_measure(drawn, real, data_range=2.0, reduction="none")
    assert ms_ssim(drawn, real) == pytest.approx(theirs, abs=0.02)  # theirs pads the border
    assert ms_ssim(real, real) == pytest.approx([1, 1])
    assert ms_ssim(drawn[..., :96, :96], real[..., :96, :96]).isfinite().all()
    assert ssim(drawn, real).mean() < ms_ssim(drawn, real).mean() < 1
