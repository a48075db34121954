"""Numbers that say how well a mouth was drawn: pure functions of tensors.

Shape suffixes: B windows, N pictures, T frames, C colour, H W pixels, D embedding.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "correlation",
    "jitter",
    "jitter_ratio",
    "laplacian_variance",
    "ms_ssim",
    "pair_accuracy",
    "psnr",
    "shift_curve",
    "ssim",
]

SSIM_WINDOW = 11  # px, side of the Gaussian window of SSIM
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first: Wang et al. 2003


def psnr(output_NCHW: Tensor, real_NCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], one per leading index; 60 dB at most."""
    error_N = (output_NCHW.float() - real_NCHW.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error_N.clamp_min(4e-6))


def ssim(output_NCHW: Tensor, real_NCHW: Tensor) -> Tensor:
    """Structural similarity of pictures in [-1, 1], one per picture: (N,).

    Wang et al. 2004 with an 11-pixel Gaussian of sigma 1.5, k1 = 0.01, k2 = 0.03 and the range 2.
    """
    similarity_NCHW, _ = _ssim_maps(output_NCHW, real_NCHW)
    return similarity_NCHW.flatten(1).mean(1)


def ms_ssim(output_NCHW: Tensor, real_NCHW: Tensor) -> Tensor:
    """SSIM over up to five scales (Wang et al. 2003) of pictures in [-1, 1], one per picture: (N,).

    Contrast and structure at every scale, luminance at the coarsest, to the powers 0.0448, 0.2856, 0.3001, 0.2363 and
    0.1333. The coarsest must hold the window of 11 px: pictures below 176 px have fewer scales, and their weights are
    made to sum to 1, so values compare only between pictures of one size.
    """
    x, y = output_NCHW.float(), real_NCHW.float()
    scales = min(len(MS_SSIM_WEIGHTS), 1 + int(math.log2(min(x.shape[-2:]) / SSIM_WINDOW)))
    weights = torch.tensor(MS_SSIM_WEIGHTS[:scales], device=x.device)
    parts = []
    for scale in range(scales):
        similarity_NCHW, structure_NCHW = _ssim_maps(x, y)
        part_NCHW = similarity_NCHW if scale == scales - 1 else structure_NCHW
        parts.append(part_NCHW.flatten(2).mean(2).clamp_min(0))  # per channel, as the products must be
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    powers_SNC = torch.stack(parts) ** (weights / weights.sum())[:, None, None]
    return powers_SNC.prod(0).mean(1)


def _ssim_maps(output_NCHW: Tensor, real_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM at every place of the window, and its factor of contrast and structure."""
    place = torch.arange(SSIM_WINDOW, dtype=torch.float32, device=output_NCHW.device) - SSIM_WINDOW // 2
    line = torch.exp(-(place**2) / (2 * 1.5**2))
    line = line / line.sum()
    channels = output_NCHW.shape[1]
    kernel = (line[:, None] * line).expand(channels, 1, SSIM_WINDOW, SSIM_WINDOW)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, groups=channels)

    x, y = output_NCHW.float(), real_NCHW.float()
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * structure, structure


def laplacian_variance(pictures_NCHW: Tensor) -> Tensor:
    """Variance over each picture of the Laplacian of its grey values, (N,): how much fine detail it has.

    The kernel is the 4-neighbour one. Noise is detail too: read it as a ratio to the real picture.
    """
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=pictures_NCHW.device)
    edges = F.conv2d(pictures_NCHW.float().mean(1, keepdim=True), kernel[None, None])
    return edges.flatten(1).var(1)


def jitter_ratio(output_BTCHW: Tensor, real_BTCHW: Tensor) -> Tensor:
    """Mean absolute second difference in time, output over real: 1 is natural, above 1 trembles.

    Pictures are averaged over blocks of 4 x 4 pixels first: sensor noise, which no generator draws, is no jitter.
    """
    return jitter(output_BTCHW).mean() / jitter(real_BTCHW).mean().clamp_min(1e-6)


def jitter(x_BTCHW: Tensor) -> Tensor:
    """Mean absolute second difference in time of each window, (B,); see :func:`jitter_ratio`."""
    B, T = x_BTCHW.shape[:2]
    blocks_BTChw = F.avg_pool2d(x_BTCHW.float().flatten(0, 1), 4).unflatten(0, (B, T))
    return blocks_BTChw.diff(n=2, dim=1).abs().flatten(1).mean(1)


def correlation(left_N: Tensor, right_N: Tensor) -> Tensor:
    """Pearson's r of two series; 0 where one of them does not move."""
    left, right = left_N.double() - left_N.double().mean(), right_N.double() - right_N.double().mean()
    spread = left.norm() * right.norm()
    return torch.where(spread > 0, (left * right).sum() / spread.clamp_min(1e-12), torch.zeros_like(spread))


def pair_accuracy(face_TD: Tensor, speech_TD: Tensor, min_shift: int, max_shift: int) -> tuple[Tensor, int]:
    """``(sum, count)``: pairs of a clip where the true cosine beats that of speech shifted by so many frames.

    Rows are successive frames of one clip; a tie counts one half.
    """
    cosine_TT = face_TD.float() @ speech_TD.float().T
    place = torch.arange(len(cosine_TT), device=cosine_TT.device)
    distance = (place[:, None] - place).abs()
    chosen = (distance >= min_shift) & (distance <= max_shift)
    true_T1 = cosine_TT.diagonal()[:, None]
    won = (true_T1 > cosine_TT).float() + 0.5 * (true_T1 == cosine_TT).float()
    return won[chosen].sum(), int(chosen.sum())


def shift_curve(face_TD: Tensor, speech_TD: Tensor, max_shift: int) -> Tensor:
    """Mean cosine of one clip with its speech shifted by -max_shift..max_shift frames: (2 * max_shift + 1,).

    Entry ``max_shift + k`` compares frame ``t`` with the speech of frame ``t + k``: a peak at ``k > 0`` means that the
    audio is late by ``k`` frames. Only frames that every shift can serve are counted; NaN where there is none.
    """
    cosine_TT = face_TD.float() @ speech_TD.float().T
    length = len(cosine_TT)
    inner = torch.arange(max_shift, max(max_shift, length - max_shift), device=cosine_TT.device)
    return torch.stack([cosine_TT[inner, inner + shift].mean() for shift in range(-max_shift, max_shift + 1)])
