"""Non-maximum suppression of a whole batch, in plain torch operations of fixed shapes.

Shape suffixes: N pictures, P boxes of each, K the best of them, A columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["choose_best", "keep_greedily"]


def choose_best(
    rows_NPA: Tensor, edges_NPA: Tensor, score_NP: Tensor, min_score: float, max_overlap: float, limit: int
) -> list[np.ndarray]:
    """The rows that survive in each picture, (n, A) on the host, the surest first.

    Looked at are the ``limit`` surest rows of at least ``min_score``; one goes where its box (x0, y0, x1, y1 in
    ``edges_NPA``) has more than ``max_overlap`` (intersection / union) in common with a surer one that stays.
    """
    score_NK, best_NK = score_NP.topk(min(limit, score_NP.shape[1]), dim=1)
    rows_NKA = _pick(rows_NPA, best_NK)
    overlap_NKK = _overlaps(_pick(edges_NPA, best_NK))
    keep_NK = keep_greedily(overlap_NKK > max_overlap, score_NK >= min_score)
    packed_NKA = torch.cat([rows_NKA, keep_NK.to(rows_NKA.dtype)[..., None]], -1).cpu().numpy()  # one transfer
    return [picture_KA[picture_KA[:, -1] > 0, :-1] for picture_KA in packed_NKA]


def keep_greedily(is_over_NKK: Tensor, is_valid_NK: Tensor) -> Tensor:
    """Who stays, bool (N, K), of boxes in order; ``is_over_NKK[n, i, j]`` says that i and j have too much in common.

    All boxes are judged at once by those that stay so far, until nothing changes. Each round settles at least one more
    box of the order, so the end is that of going through them one by one; it takes as many rounds as boxes hide behind
    each other in a chain.
    """
    num = is_valid_NK.shape[1]
    place_K = torch.arange(num, device=is_valid_NK.device)
    is_over_NKK = is_over_NKK & (place_K[:, None] < place_K)  # only a surer one suppresses
    keep_NK = is_valid_NK
    for _ in range(num):
        new_NK = is_valid_NK & ~(is_over_NKK & keep_NK[:, :, None]).any(1)
        if torch.equal(new_NK, keep_NK):
            break
        keep_NK = new_NK
    return keep_NK


def _pick(values_NPA: Tensor, index_NK: Tensor) -> Tensor:
    return values_NPA.gather(1, index_NK[..., None].expand(-1, -1, values_NPA.shape[-1]))


def _overlaps(edges_NKA: Tensor) -> Tensor:
    """(N, K, K): intersection / union of every pair; 1 for two boxes without area, as OpenCV has it."""
    low = torch.maximum(edges_NKA[:, :, None, :2], edges_NKA[:, None, :, :2])
    high = torch.minimum(edges_NKA[:, :, None, 2:], edges_NKA[:, None, :, 2:])
    shared_NKK = _area(high - low)
    area_NK = _area(edges_NKA[..., 2:] - edges_NKA[..., :2])
    union_NKK = area_NK[:, :, None] + area_NK[:, None] - shared_NKK
    return torch.where(union_NKK > 0, shared_NKK / union_NKK.clamp(min=1e-9), torch.ones_like(shared_NKK))


def _area(sides: Tensor) -> Tensor:
    """Width x height of (..., 2); 0 where one is negative."""
    return sides[..., 0].clamp(min=0) * sides[..., 1].clamp(min=0)
