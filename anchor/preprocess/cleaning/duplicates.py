"""Clips that are there twice: the same file, or the same recording in another encoding or size.

A recording that comes back under another speaker's name would be trained on and validated with. Shape suffixes: E
entries, one per heard frame of any clip; T frames.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anchor.preprocess.cleaning.fingerprint import CODE_BITS, NO_CODE, PICTURE_EVERY, Fingerprint
from anchor.timing import FPS

__all__ = ["Twin", "find_same_files", "find_same_recordings"]

MAX_ERROR = 0.3  # share of the sound's bits: other encodings have 0.06 to 0.13, other recordings 0.42 and more
MAX_PICTURE_BITS = 12.0  # of 64, mean: another size and encoding changes 0 to 3, the same room again 8 and more
MIN_HEARD = FPS  # frames that must be heard in both
MIN_SHARE = 0.5  # of the shorter clip that lies within the other
SAME_LENGTH = 0.9  # the shorter / the longer: from here on the later name goes, else the shorter clip
MIN_VOTES = 2  # frames with one code at about one distance in time
MAX_HOLDERS = 40  # clips and moments with one code: it tells nothing


class Twin(NamedTuple):
    """What a clip is a duplicate of."""

    original: int
    error: float  # share of the sound's bits that differ; 0.0 for the same file


def find_same_files(paths: Sequence[Path]) -> dict[int, int]:
    """The number of each file whose bytes an earlier one has, and of that one; only files of one size are read."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        sizes[path.stat().st_size].append(number)
    same: dict[int, int] = {}
    for size, numbers in sizes.items():
        first: dict[str, int] = {}
        for number in numbers if size and len(numbers) > 1 else ():
            with paths[number].open("rb") as file:
                digest = hashlib.sha256()
                while chunk := file.read(2**20):
                    digest.update(chunk)
            original = first.setdefault(digest.hexdigest(), number)
            if original != number:
                same[number] = original
    return same


def find_same_recordings(prints: Mapping[int, Fingerprint]) -> dict[int, Twin]:
    """Which clips go, and as duplicates of which; the keys of ``prints`` are in order of name.

    Of two clips of about one length the later goes, else the one that is contained in the other. Both the sound and
    the picture must agree; clips in which less than a second is heard are never compared.
    """
    lost: dict[int, Twin] = {}
    for one, other, lag in _candidates(prints):
        error = _compare(prints[one], prints[other], lag)
        if error is None:
            continue
        lengths = {number: len(prints[number].sound_T) for number in (one, other)}
        is_alike = min(lengths.values()) >= SAME_LENGTH * max(lengths.values())
        loser = max(one, other) if is_alike else min(lengths, key=lambda number: (lengths[number], -number))
        lost.setdefault(loser, Twin(one if loser == other else other, round(error, 3)))
    return {loser: Twin(_root(loser, lost), twin.error) for loser, twin in lost.items() if _root(loser, lost) != loser}


def _root(number: int, lost: Mapping[int, Twin]) -> int:
    """The clip at the end of the chain of originals; the first of them where they stand in a ring."""
    seen = [number]
    while seen[-1] in lost:
        before = lost[seen[-1]].original
        if before in seen:
            return min(seen[seen.index(before) :])
        seen.append(before)
    return seen[-1]


def _candidates(prints: Mapping[int, Fingerprint]) -> list[tuple[int, int, int]]:
    """Pairs of clips with a few equal codes at one distance in time: ``(one, other, frames that other is behind)``."""
    if len(prints) < 2:
        return []
    heard = {number: np.flatnonzero(one.is_heard) for number, one in prints.items()}
    code_E = np.concatenate([prints[number].sound_T[frames] for number, frames in heard.items()])
    clip_E = np.concatenate([np.full(len(frames), number) for number, frames in heard.items()])
    frame_E = np.concatenate(list(heard.values()))
    order = np.argsort(code_E, kind="stable")
    code_E, clip_E, frame_E = code_E[order], clip_E[order], frame_E[order]
    size_E = np.repeat(*_runs(code_E))
    rows = []
    for step in range(1, MAX_HOLDERS):  # every entry with each of those behind it that have its code
        is_pair = (code_E[step:] == code_E[:-step]) & (clip_E[step:] != clip_E[:-step]) & (size_E[step:] <= MAX_HOLDERS)
        first, second = np.flatnonzero(is_pair), np.flatnonzero(is_pair) + step
        if step > 1 and not (code_E[step:] == code_E[:-step]).any():
            break
        rows.append(np.stack([clip_E[first], clip_E[second], frame_E[second] - frame_E[first]], 1))
    pairs: dict[tuple[int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    if rows:
        all_rows = np.concatenate(rows)
        backward = all_rows[:, 0] > all_rows[:, 1]
        all_rows[backward] = all_rows[backward][:, [1, 0, 2]] * (1, 1, -1)
        found, counts = np.unique(all_rows, axis=0, return_counts=True)
        for (one, other, lag), count in zip(found.tolist(), counts.tolist(), strict=True):
            pairs[one, other][lag] += count
    result = []
    for (one, other), lags in sorted(pairs.items()):
        votes = {lag: sum(lags.get(lag + near, 0) for near in (-1, 0, 1)) for lag in lags}
        lag = max(votes, key=lambda lag: (votes[lag], lags[lag], -abs(lag)))
        if votes[lag] >= MIN_VOTES:
            result.append((one, other, lag))
    return result


def _runs(code_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The length of each run of equal codes, twice: to be repeated by itself."""
    edges = np.flatnonzero(np.concatenate([[True], code_E[1:] != code_E[:-1], [True]]))
    return np.diff(edges), np.diff(edges)


def _compare(one: Fingerprint, other: Fingerprint, lag: int) -> float | None:
    """The share of the sound's bits that differ where ``other`` is ``lag`` frames behind; None: other recordings."""
    errors = [
        (error, near) for near in (lag - 1, lag, lag + 1) if (error := _sound_error(one, other, near)) is not None
    ]
    error, lag = min(errors, default=(1.0, lag))
    if error > MAX_ERROR:
        return None
    start, stop = max(0, -lag), min(len(one.sound_T), len(other.sound_T) - lag)
    if stop - start < MIN_SHARE * min(len(one.sound_T), len(other.sound_T)):
        return None
    frames = one.first + PICTURE_EVERY * np.arange(len(one.pictures_P))
    places = np.rint((frames + lag - other.first) / PICTURE_EVERY).astype(int)
    is_both = (places >= 0) & (places < len(other.pictures_P))
    if not is_both.any():
        return None
    bits = _count_bits(one.pictures_P[is_both] ^ other.pictures_P[places[is_both]])
    return error if float(np.median(bits)) <= MAX_PICTURE_BITS else None


def _sound_error(one: Fingerprint, other: Fingerprint, lag: int) -> float | None:
    start, stop = max(0, -lag), min(len(one.sound_T), len(other.sound_T) - lag)
    if stop - start < MIN_HEARD:
        return None
    mine, theirs = one.sound_T[start:stop], other.sound_T[start + lag : stop + lag]
    is_heard = (mine != NO_CODE) & (theirs != NO_CODE)
    if int(is_heard.sum()) < MIN_HEARD:
        return None
    return float(_count_bits(mine[is_heard] ^ theirs[is_heard]).mean()) / CODE_BITS


def _count_bits(values: np.ndarray) -> np.ndarray:
    """How many bits of each value are set."""
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    return np.unpackbits(octets, axis=1).sum(1)
