"""Every class of anchor.evaluation.meters: the laws, and one number on any number of ranks."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from anchor.evaluation import meters


class Pool(nn.Module):
    """A stand-in for Inception: 12 features of a picture."""

    def forward(self, pictures):
        return F.adaptive_avg_pool2d(pictures.float() / 255, 2).flatten(1)


class Apart(nn.Module):
    """A stand-in for LPIPS."""

    def forward(self, drawn, real):
        return (drawn - real).square().flatten(1).mean(1)


def all_meters():
    return {
        "psnr": meters.Psnr("mouth"),
        "ssim": meters.Ssim("face"),
        "ms_ssim": meters.MsSsim("face"),
        "l1": meters.L1("lower"),
        "sharpness": meters.SharpnessRatio(),
        "jitter": meters.JitterRatio(),
        "jitter_upper": meters.JitterRatio("upper"),
        "held": meters.HeldShare(),
        "lpips": meters.PerceptualDistance(Apart()),
        "fid": meters.FrechetDistance(Pool(), 12),
        "landmark_distance": meters.LandmarkDistance(),
        "landmark_velocity": meters.LandmarkVelocity(),
        "landmark_jitter": meters.LandmarkJitterRatio(),
        "opening": meters.OpeningCorrelation(),
        "leak": meters.SilenceLeak(),
        "identity": meters.IdentitySimilarity(),
        "speed": meters.Throughput(),
        "share": meters.Share(),
        "pair": meters.PairAccuracy(5, 15),
        "curve": meters.ShiftCurve(),
        "mean_r": meters.MeanCorrelation(),
        "lse_d": meters.MeanValue(),
    }


def count_clip(every, number):
    """The clip of this number, made of nothing else."""
    rng = np.random.default_rng(number)
    length = 40 + 7 * number
    real = rng.integers(0, 256, (length, 32, 32, 3), np.uint8)
    drawn = (real * 0.7 + 10 * number).clip(0, 255).astype(np.uint8)
    drawn[:, :16] = real[:, :16]
    points = rng.normal(size=(length, 8, 2))
    other = points + rng.normal(size=points.shape) * 0.1 * number
    face, speech = (F.normalize(torch.from_numpy(rng.normal(size=(length, 6))), dim=1) for _ in range(2))
    opening = rng.normal(size=length)
    for name in ("psnr", "ssim", "ms_ssim", "l1", "sharpness", "jitter", "jitter_upper", "lpips", "fid"):
        every[name].update(drawn, real)
    every["held"].update(drawn[:30], real, np.arange(30) // 10)
    for name in ("landmark_distance", "landmark_velocity", "landmark_jitter"):
        every[name].update(other, points)
    every["opening"].update(opening + rng.normal(size=length) * number, opening)
    every["mean_r"].update(points[:, 0, 0], other[:, 0, 0])
    every["leak"].update(opening, 0.2, opening > -0.5)
    every["identity"].update(points[:, 0], other[:, 0])
    every["speed"].update(length, 0.1 * number + 0.3)
    every["share"].update(opening > 0)
    every["pair"].update(face, speech)
    every["curve"].update(face, speech)
    every["lse_d"].update(float(number))


def values(every):
    return {name: meter.compute().double().flatten().tolist() for name, meter in every.items()}


def on_a_rank(rank, ranks, store, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    every = all_meters()
    for number in range(3):
        if rank == 0:  # the other rank has no clip at all: the worst case of a reduction
            count_clip(every, number)
    first = values(every)
    if rank == 1:
        count_clip(every, 3)
    for meter in every.values():
        meter._computed = None
    if rank == 1:
        torch.save((first, values(every)), out)
    else:
        values(every)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_give_the_number_of_one(tmp_path):
    out = tmp_path / "values.pt"
    torch.multiprocessing.spawn(on_a_rank, (2, tmp_path / "store", out), nprocs=2)
    first, second = torch.load(out)
    alone = all_meters()
    for number in range(3):
        count_clip(alone, number)
    for name, value in values(alone).items():
        assert first[name] == pytest.approx(value, rel=1e-6), name
    count_clip(alone, 3)
    for meter in alone.values():
        meter._computed = None
    for name, value in values(alone).items():
        assert second[name] == pytest.approx(value, rel=1e-6), name


def test_a_call_is_the_clip_and_compute_is_all_of_them():
    meter = meters.SumRatio()
    assert float(meter(1, 2)) == 0.5
    assert float(meter(3, 2)) == 1.5
    assert float(meter.compute()) == 1.0
    assert math.isnan(float(meters.SumRatio().compute()))
    clips = meters.OpeningCorrelation()
    ramp = np.arange(9.0)
    assert float(clips(ramp, ramp)) == pytest.approx(1)
    assert float(clips(ramp, -ramp)) == pytest.approx(-1)
    assert float(clips.compute()) == pytest.approx(0, abs=1e-9)
    assert clips.quantile(0.1) == pytest.approx(-0.8)
    assert math.isnan(float(meters.ClipValues().compute()))


def test_copies_are_perfect():
    every = all_meters()
    rng = np.random.default_rng(0)
    real, points = rng.integers(0, 256, (30, 32, 32, 3), np.uint8), rng.normal(size=(30, 8, 2))
    wanted = {"psnr": 60, "ssim": 1, "ms_ssim": 1, "l1": 0, "sharpness": 1, "jitter": 1, "lpips": 0, "fid": 0}
    for name, value in wanted.items():
        assert float(every[name](real, real)) == pytest.approx(value, abs=1e-3), name
    for name, value in {"landmark_distance": 0, "landmark_velocity": 0, "landmark_jitter": 1}.items():
        assert float(every[name](points, points)) == pytest.approx(value), name
    assert float(every["identity"](points[:, 0], points[:, 0])) == pytest.approx(1)


def test_the_frechet_distance_is_that_of_two_gaussians():
    """For features with means apart by m and covariances a I and b I it is |m|^2 + n (sqrt a - sqrt b)^2."""
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(40_000, 4, generator=generator), 2 * torch.randn(40_000, 4, generator=generator) + 1]

    class Plain(nn.Module):
        def forward(self, pictures):
            return clouds[int(pictures.flatten()[0])]

    meter = meters.FrechetDistance(Plain(), 4)
    meter.update(np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 8, 8, 3), np.uint8))
    assert float(meter.compute()) == pytest.approx(4 + 4, rel=0.03)


def test_the_curve_has_an_offset_and_a_confidence():
    meter = meters.ShiftCurve()
    speech = F.normalize(torch.randn(80, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    meter.update(torch.roll(speech, -4, 0), speech)
    meter.update(speech[:20], speech[:20])  # too short, and left out
    curve = meter.compute()
    assert meters.ShiftCurve.offset(curve) == 4
    assert meters.ShiftCurve.confidence(curve) == pytest.approx(1, abs=0.1)
