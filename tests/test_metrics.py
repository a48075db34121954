import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from anchor.metrics import correlation, jitter_ratio, pair_accuracy, psnr, shift_curve, ssim


def test_psnr_and_ssim_agree_with_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(3, 3, 48, 96, generator=generator) * 2 - 1
    output = (real + 0.1 * torch.randn(real.shape, generator=generator)).clamp(-1, 1)
    theirs = torch.stack([peak_signal_noise_ratio(o, r, data_range=2.0) for o, r in zip(output, real, strict=True)])
    assert torch.allclose(psnr(output, real), theirs, atol=1e-3)
    theirs = structural_similarity_index_measure(output, real, data_range=2.0, reduction="none")
    assert torch.allclose(ssim(output, real), theirs, atol=2e-2)  # they reflect at the border, we leave it out


def test_jitter_is_one_for_the_truth_and_above_for_trembling():
    real = torch.rand(2, 5, 3, 8, 16).cumsum(1)
    assert abs(float(jitter_ratio(real, real)) - 1) < 1e-6
    trembling = real + torch.tensor([1, -1, 1, -1, 1.0])[None, :, None, None, None]
    assert jitter_ratio(trembling, real) > 2


def test_correlation_of_a_still_series_is_zero():
    rising = torch.arange(10.0)
    assert correlation(rising, 3 * rising + 1) == 1
    assert correlation(rising, torch.ones(10)) == 0


def test_shift_curve_peaks_where_the_audio_is_late():
    speech = torch.nn.functional.normalize(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    face = speech.roll(-3, 0)  # frame t shows what is heard at t + 3
    assert int(shift_curve(face, speech, 10).argmax()) - 10 == 3


def test_shift_curve_of_a_clip_too_short_is_not_a_number():
    assert shift_curve(torch.ones(12, 4), torch.ones(12, 4), 15).isnan().all()


def test_pair_accuracy_counts_only_the_shifts_asked_for():
    speech = torch.eye(30)
    won, count = pair_accuracy(speech, speech, 5, 15)
    assert won == count == sum(1 for a in range(30) for b in range(30) if 5 <= abs(a - b) <= 15)
    won, count = pair_accuracy(torch.ones(30, 4), torch.ones(30, 4), 5, 15)
    assert won / count == 0.5
