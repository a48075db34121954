"""Losses: tensors in, one 0-d tensor out. Everything is computed in float32, whatever the autocast around it.

Where a loss takes ``weight_B`` it says how much each window counts in the mean: a window that only fills a batch up has
0 and changes nothing. Without it all count alike.

Shape suffixes: B windows, D embedding, K wrong speeches, N pictures, T frames, C colour, H W pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "MAX_SCALE",
    "affine_loss",
    "edge_loss",
    "feature_loss",
    "held_loss",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "info_nce",
    "jitter_loss",
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "motion_loss",
    "pair_loss",
    "pairwise_loss",
    "pyramid_loss",
    "steady_loss",
    "sync_loss",
    "weighted_l1",
]

MAX_SCALE = 100.0  # the inverse temperature's bound in CLIP (Radford et al. 2021, arXiv 2103.00020)
PROBABILITY_FLOOR = 1e-3  # a wrong pair costs at most ln(1000) = 6.9 and pulls with at most 1000

BLOCK = 4  # px: sensor noise, which no generator draws, is no jitter; as in anchor.metrics.jitter
FEATURE_AT_REST = 1e-3  # a tenth of what features of a speaking man's face change by from frame to frame
HALF_LEVEL = 0.5 / 127.5  # half a grey level of pictures in [-1, 1]


def pair_loss(face_BD: Tensor, speech_BD: Tensor, in_sync_B: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Binary cross-entropy that reads the cosine of two embeddings as a probability; a mean over pairs.

    ``in_sync_B`` is 1.0 where the speech belongs to the frames and 0.0 where it does not. This is the classic loss of
    Wav2Lip's expert (Prajwal et al. 2020). A rounded cosine may leave [0, 1], where the logarithm is not a number, so
    it is clamped; the clamp lets the gradient through, or pairs beyond it would never come back.
    """
    cosine_B = _cosine(face_BD, speech_BD)
    in_sync_B = in_sync_B.float()
    match_B, mismatch_B = _clamp_alive(cosine_B), _clamp_alive(1 - cosine_B)
    return _mean(-(in_sync_B * match_B.log() + (1 - in_sync_B) * mismatch_B.log()), weight_B)


def affine_loss(
    face_BD: Tensor, speech_BD: Tensor, in_sync_B: Tensor, scale: Tensor, bias: Tensor, weight_B: Tensor | None = None
) -> Tensor:
    """:func:`pair_loss` with a learnt meaning of the cosine: ``scale * cosine + bias`` is the logit of "in sync"."""
    logit_B = scale.float().clamp(max=MAX_SCALE) * _cosine(face_BD, speech_BD) + bias.float()
    return _mean(F.binary_cross_entropy_with_logits(logit_B, in_sync_B.float(), reduction="none"), weight_B)


def sync_loss(face_BD: Tensor, speech_BD: Tensor, kind: str = "cosine", weight_B: Tensor | None = None) -> Tensor:
    """How badly the frozen expert thinks generated mouths fit their speech; 0 for equal embeddings.

    ``kind="cosine"`` is ``1 - cosine``, for experts taught with :func:`info_nce`, whose cosine is no probability;
    ``kind="bce"`` is :func:`pair_loss` with every pair in sync, for experts taught with it.
    """
    if kind == "bce":
        return pair_loss(face_BD, speech_BD, torch.ones(len(face_BD), device=face_BD.device), weight_B)
    return _mean(1 - _cosine(face_BD, speech_BD), weight_B)


def info_nce(
    face_BD: Tensor, speech_BD: Tensor, weight_BB: Tensor, scale: Tensor, weight_B: Tensor | None = None
) -> Tensor:
    """Cross-entropy of finding a window's own speech among the batch's, and the speech's own window.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748), symmetric. ``weight_BB[i, j]`` says how much speech ``j``
    counts as a wrong answer for window ``i``: 0 leaves it out (it overlaps the window), 1 is a full negative. The
    diagonal is the right answer and always counts. ``scale`` is the inverse temperature.
    """
    with _full_precision(face_BD):
        face_BD, speech_BD = F.normalize(face_BD.float(), dim=1), F.normalize(speech_BD.float(), dim=1)
        eye_BB = torch.eye(len(face_BD), device=face_BD.device)
        weight_BB = torch.maximum(weight_BB.float(), eye_BB)
        logits_BB = scale.float().clamp(max=MAX_SCALE) * face_BD @ speech_BD.T + weight_BB.log()  # log 0 leaves it out
        answers_B = torch.arange(len(face_BD), device=face_BD.device)
        found_B = F.cross_entropy(logits_BB, answers_B, reduction="none")
        return 0.5 * _mean(found_B + F.cross_entropy(logits_BB.T, answers_B, reduction="none"), weight_B)


def pairwise_loss(
    face_BD: Tensor,
    speech_BD: Tensor,
    weight_BB: Tensor,
    scale: Tensor,
    bias: Tensor,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Every pair of the batch asked by itself whether it is in sync; a sum over a window's pairs, a mean over windows.

    The pairwise logistic loss of SigLIP (Zhai et al. 2023, arXiv 2303.15343, algorithm 1): the logit is
    ``scale * cosine + bias``. ``weight_BB`` as in :func:`info_nce`; the diagonal is in sync and counts once.
    """
    with _full_precision(face_BD):
        face_BD, speech_BD = F.normalize(face_BD.float(), dim=1), F.normalize(speech_BD.float(), dim=1)
        logits_BB = scale.float().clamp(max=MAX_SCALE) * face_BD @ speech_BD.T + bias.float()
        eye_BB = torch.eye(len(face_BD), device=face_BD.device)
        weight_BB = torch.maximum(weight_BB.float() * (1 - eye_BB), eye_BB)
        cost_BB = F.binary_cross_entropy_with_logits(logits_BB, eye_BB, weight_BB, reduction="none")
        return _mean(cost_BB.sum(1), weight_B)


def weighted_l1(output_NCHW: Tensor, real_NCHW: Tensor, weight_HW: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Mean absolute difference, each pixel counted ``weight_HW`` times; any leading dimensions."""
    return _mean((output_NCHW.float() - real_NCHW.float()).abs() * weight_HW, weight_B)


def edge_loss(output_NCHW: Tensor, real_NCHW: Tensor, weight_B: Tensor | None = None, levels: int = 1) -> Tensor:
    """Mean absolute difference of the horizontal and vertical pixel differences: it asks for edges where L1 blurs.

    The gradient difference loss of Mathieu et al. 2016 (arXiv 1511.05440) with exponent 1 and signed differences; with
    ``levels`` the mean over the picture and its halves, quarters and so on. Any leading dimensions.
    """
    error_NCHW = output_NCHW.float() - real_NCHW.float()
    total = error_NCHW.new_zeros(())
    for level in range(levels):
        error_NCHW = _halved(error_NCHW) if level else error_NCHW
        across, down = error_NCHW.diff(dim=-1).abs(), error_NCHW.diff(dim=-2).abs()
        total = total + _mean(across, weight_B) + _mean(down, weight_B)
    return total / levels


def pyramid_loss(output_NCHW: Tensor, real_NCHW: Tensor, weight_B: Tensor | None = None, levels: int = 3) -> Tensor:
    """Mean absolute difference of the bands of a Laplacian pyramid, a mean over ``levels``; any leading dimensions.

    After Lap1 of Bojanowski et al. 2018 (arXiv 1707.05776), with averages of 2 x 2 pixels for the Gaussian. The coarse
    rest is left to L1.
    """
    error_NCHW = output_NCHW.float() - real_NCHW.float()
    total = error_NCHW.new_zeros(())
    for _ in range(levels):
        small_NChw = _halved(error_NCHW)
        coarse = F.interpolate(small_NChw.flatten(0, -4), size=error_NCHW.shape[-2:]).unflatten(
            0, error_NCHW.shape[:-3]
        )
        total = total + _mean((error_NCHW - coarse).abs(), weight_B)
        error_NCHW = small_NChw
    return total / levels


def motion_loss(
    output_BTCHW: Tensor, real_BTCHW: Tensor, weight_HW: Tensor, weight_B: Tensor | None = None, order: int = 1
) -> Tensor:
    """How differently the mouth moves in output and real windows: ``mean(w |d^n output - d^n real|)``.

    ``d^n`` is the difference in time of that order: the first is the mouth's velocity, the second its jerkiness. The
    first is the velocity term of VOCA (Cudeiro et al. 2019, arXiv 1905.03079) with the absolute value for the square,
    on pixels instead of vertices. Trembling that the real mouth does not show costs as much as motion that is missing;
    a constant error of colour costs nothing.
    """
    output_BTCHW, real_BTCHW = output_BTCHW.float().diff(n=order, dim=1), real_BTCHW.float().diff(n=order, dim=1)
    return _mean((output_BTCHW - real_BTCHW).abs() * weight_HW, weight_B)


def jitter_loss(output_BTCHW: Tensor, real_BTCHW: Tensor, weight_HW: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """By how much the amounts of jitter differ: ``|log((J(output) + e) / (J(real) + e))|``, a mean over windows.

    ``J`` is the weighted mean absolute second difference in time of a window, of pictures averaged over 4 x 4 pixels:
    what :func:`anchor.metrics.jitter_ratio` compares. :func:`motion_loss` alone is cheapest for a mouth that moves too
    little, as L1 is for one that is blurred: where motion cannot be foreseen its best guess is none. This one asks for
    the real amount, whatever the direction. ``e`` is half a grey level: a mouth at rest is no reason to divide by zero.
    """
    output_B, real_B = (_change(x, weight_HW, order=2) + HALF_LEVEL for x in (output_BTCHW, real_BTCHW))
    return _mean((output_B / real_B).log().abs(), weight_B)


def held_loss(held_BTCHW: Tensor, weight_HW: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """How much a mouth moves while its speech stands still: ``mean(w |d held|)``, a mean over windows.

    ``held_BTCHW`` are windows drawn with the speech of one moment throughout, ``d`` is the difference in time of their
    blocks of 4 x 4 pixels, ``w`` the weights of the mouth. What moves there is read off the rest of the face: of the
    few poses of one person a network soon knows by heart which mouth goes with which. A mouth that follows its head
    costs a little, too; the losses that compare with real windows ask for that.
    """
    return _mean(_change(held_BTCHW, weight_HW, order=1), weight_B)


def steady_loss(own: Sequence[Tensor], base: Sequence[Tensor], weight_B: Tensor | None = None) -> Tensor:
    """How differently feature maps change in time from those of the network they come from; a mean over the maps.

    Maps are (B, T, C, H, W). Of each ``mean h(d own - d base) / (mean |d base| + e)`` in every window, with ``d`` the
    difference in time and ``h`` the absolute value, rounded off below ``e`` (Huber 1964) so that rounding errors pull
    with next to nothing: 0 where what was learnt is the same in all frames of a window, as who somebody is should be.
    """
    parts = []
    for own_BTCHW, base_BTCHW in zip(own, base, strict=True):
        change_BTCHW = base_BTCHW.float().diff(dim=1)
        apart_BTCHW = F.smooth_l1_loss(
            own_BTCHW.float().diff(dim=1), change_BTCHW, beta=FEATURE_AT_REST, reduction="none"
        )
        change_B = change_BTCHW.abs().flatten(1).mean(1)
        parts.append(_mean(apart_BTCHW.flatten(1).mean(1) / (change_B + FEATURE_AT_REST), weight_B))
    return torch.stack(parts).mean()


def hinge_discriminator_loss(real_score: Tensor, fake_score: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Discriminator hinge loss over raw scores of any shape (Lim and Ye 2017, arXiv 1705.02894)."""
    return _mean(F.relu(1 - real_score.float()), weight_B) + _mean(F.relu(1 + fake_score.float()), weight_B)


def hinge_generator_loss(fake_score: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Generator hinge loss: raise the discriminator's score of generated pictures."""
    return -_mean(fake_score.float(), weight_B)


def lsgan_discriminator_loss(real_score: Tensor, fake_score: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Discriminator least-squares loss over raw scores: real to 1, drawn to 0 (Mao et al. 2017, arXiv 1611.04076)."""
    return 0.5 * (_mean((real_score.float() - 1).square(), weight_B) + _mean(fake_score.float().square(), weight_B))


def lsgan_generator_loss(fake_score: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Generator least-squares loss: the discriminator's score of generated pictures to 1."""
    return 0.5 * _mean((fake_score.float() - 1).square(), weight_B)


def feature_loss(fake: Sequence[Tensor], real: Sequence[Tensor], weight_B: Tensor | None = None) -> Tensor:
    """Mean absolute difference of a network's activations, a mean over its layers.

    Feature matching where the network is the discriminator (pix2pixHD, Wang et al. 2018, arXiv 1711.11585), perceptual
    loss where it is one that has learnt to see (Johnson et al. 2016, arXiv 1603.08155).
    """
    parts = [_mean((a.float() - b.float()).abs(), weight_B) for a, b in zip(fake, real, strict=True)]
    return torch.stack(parts).mean()


def _mean(values: Tensor, weight_B: Tensor | None) -> Tensor:
    """The mean; with weights, of B equal parts along the leading dimensions, each times its weight."""
    if weight_B is None:
        return values.mean()
    return (values.reshape(len(weight_B), -1).mean(1) * weight_B).mean()


def _halved(x_NCHW: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    return F.avg_pool2d(x_NCHW.flatten(0, -4), 2).unflatten(0, x_NCHW.shape[:-3])


def _change(x_BTCHW: Tensor, weight_HW: Tensor, order: int) -> Tensor:
    """The weighted mean absolute difference in time, of that order, of each window's blocks: (B,)."""
    B, T = x_BTCHW.shape[:2]
    blocks_BTChw = F.avg_pool2d(x_BTCHW.float().flatten(0, 1), BLOCK).unflatten(0, (B, T))
    weight_hw = F.avg_pool2d(weight_HW[None, None].float(), BLOCK)[0, 0]
    return (blocks_BTChw.diff(n=order, dim=1).abs() * weight_hw).flatten(1).mean(1)


def _cosine(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    with _full_precision(left_BD):
        return F.cosine_similarity(left_BD.float(), right_BD.float())


def _clamp_alive(probability: Tensor) -> Tensor:
    """``probability`` clamped to [floor, 1] whose gradient is that of the unclamped value."""
    return probability + (probability.clamp(PROBABILITY_FLOOR, 1.0) - probability).detach()


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
