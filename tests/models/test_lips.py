"""The reader of a person's lips: it reads what its marks said, in the mirror too, and gradients go through it."""

import torch

from anchor.models.lips import fit_lip_reader
from anchor.ops.images import mouth_crop


def drawn_mouths(openings_N, shift=0.0):
    """Lower halves (N, 3, 48, 96), noisy, whose mouth is a dark slit as high as its opening says."""
    half_NChW = 0.3 + 0.02 * torch.randn(len(openings_N), 3, 48, 96, generator=torch.Generator().manual_seed(0))
    for half_ChW, opening in zip(half_NChW, openings_N, strict=True):
        box_Chw = mouth_crop(half_ChW)
        rows = (torch.arange(box_Chw.shape[-2]) - 16).abs()[:, None]
        inside = torch.sigmoid(2 * (8 * opening - rows)) * (torch.arange(48) - 20 - shift).abs().lt(10)
        box_Chw -= inside
    return half_NChW


def test_it_reads_mouths_that_it_has_not_seen_as_they_were_marked():
    openings_N = torch.rand(80, generator=torch.Generator().manual_seed(1))
    lips_NK = torch.stack([openings_N, 1 - 0.5 * openings_N], 1)
    half_NChW = drawn_mouths(openings_N)
    reader = fit_lip_reader(half_NChW[:60], lips_NK[:60])
    for shown in (half_NChW[60:], half_NChW[60:].flip(-1)):
        read_NK = reader(shown)
        assert torch.corrcoef(torch.stack([read_NK[:, 0], openings_N[60:]]))[0, 1] > 0.98
        assert torch.corrcoef(torch.stack([read_NK[:, 1], openings_N[60:]]))[0, 1] < -0.98


def test_its_unit_is_the_persons_own_spread_and_gradients_reach_the_mouth_alone():
    openings_N = torch.rand(80, generator=torch.Generator().manual_seed(1))
    half_NChW = drawn_mouths(openings_N).requires_grad_()
    reader = fit_lip_reader(half_NChW.detach(), 1000 * openings_N[:, None])
    read_NK = reader(half_NChW)
    assert abs(float(read_NK.detach().mean())) < 0.05
    assert 0.9 < float(read_NK.detach().std()) < 1.05
    read_NK.square().sum().backward()
    assert mouth_crop(half_NChW.grad).abs().sum() > 0
    mouth_crop(half_NChW.grad).zero_()
    assert not half_NChW.grad.any()
