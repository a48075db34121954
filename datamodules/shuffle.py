"""A random order over millions of things without a list of them: keyed permutations, one element at a time.

A Feistel network is a permutation whatever its round function (Luby and Rackoff 1988). Over a range that is no power
of four it walks: what falls outside is put in again until it falls inside (Black and Rogaway 2002). So an epoch's order
costs no memory, any place of it can be asked for at once, and the same key gives the same order on every machine.
"""

from __future__ import annotations

import numpy as np

__all__ = ["make_key", "permute"]

ROUNDS = 6


def make_key(*parts: int | np.ndarray) -> np.ndarray:
    """uint64 keys out of whole numbers of at least 0, which are broadcast against each other."""
    key = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            key = _mix(key + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return key


def permute(index: np.ndarray | int, size: np.ndarray | int, key: np.ndarray) -> np.ndarray:
    """Where the permutation of ``range(size)`` that belongs to ``key`` takes ``index``, int64.

    All three are broadcast against each other; ``index`` is in ``[0, size)``, ``size`` below 2**52.
    """
    indexes, sizes, keys = np.broadcast_arrays(np.asarray(index, np.uint64), np.asarray(size, np.uint64), key)
    bits = np.frexp(sizes.astype(np.float64) - 1)[1]  # of the largest index
    half = np.maximum((bits + 1) // 2, 1).astype(np.uint64)
    out = indexes.reshape(-1).copy()
    sizes, keys, half = sizes.reshape(-1), keys.reshape(-1), half.reshape(-1)
    outside = np.arange(len(out))
    while len(outside):
        out[outside] = _rounds(out[outside], half[outside], keys[outside])
        outside = outside[out[outside] >= sizes[outside]]
    return out.reshape(indexes.shape).astype(np.int64)


def _rounds(value: np.ndarray, half: np.ndarray, key: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for number in range(ROUNDS):
        left, right = right, left ^ (_mix(right + key + np.uint64(number << 48)) & mask)
    return (left << half) | right


def _mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit moves every bit."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
