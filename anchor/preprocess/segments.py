"""Where a clip is cut: stretches with one face, in segments that the mel spectrogram can be cut at exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchor.timing import FPS, MEL_STEPS_PER_SECOND, SAMPLES_PER_FRAME, WINDOW_FRAMES, WINDOW_MEL_STEPS

__all__ = ["Segment", "cut_audio", "cut_mel", "hold_out_from", "plan_segments"]

GRID = WINDOW_FRAMES  # frames: 5 frames are exactly 16 mel steps, so a segment begins on a mel step


@dataclass(frozen=True)
class Segment:
    """Frames ``[start, stop)`` of a clip at 25 fps; ``start`` is a multiple of 5."""

    start: int
    stop: int

    @property
    def num_frames(self) -> int:
        """How many frames it has."""
        return self.stop - self.start


def plan_segments(
    ids: np.ndarray, max_frames: int, min_frames: int, min_segments: int = 1, cut_at: int | None = None
) -> list[Segment]:
    """Cut the stretches of equal ``ids`` (T,) that are not negative into segments.

    A stretch begins at its first frame on the grid of 5 and is cut into equal parts (rounded up to the grid) of at
    most ``max_frames``; what is shorter than ``min_frames`` is dropped. With ``min_segments`` 2 a clip that would be
    one segment is cut in two, where both parts are long enough. No segment reaches over the frame ``cut_at``.
    """
    edges = np.flatnonzero(np.diff(ids)) + 1
    if cut_at is not None and 0 < cut_at < len(ids):
        edges = np.union1d(edges, [cut_at])
    stretches = [
        (-(-int(start) // GRID) * GRID, int(stop))
        for start, stop in zip([0, *edges], [*edges, len(ids)], strict=True)
        if stop > start and ids[start] >= 0
    ]
    limit = max(GRID, max_frames // GRID * GRID)
    segments: list[Segment] = []
    for start, stop in stretches:
        segments += _cut(start, stop, -(-(stop - start) // limit), min_frames)
    if 0 < len(segments) < min_segments:
        longest = max(segments, key=lambda segment: segment.num_frames)
        halves = _cut(longest.start, longest.stop, min_segments, min_frames)
        if len(halves) == min_segments:
            segments = halves
    return segments


def hold_out_from(total: int, hold_out_frames: int, min_frames: int) -> int | None:
    """The frame from which a clip of ``total`` frames is held out, on the grid of 5; None where nothing is.

    Its last ``hold_out_frames``, but never more than its last third: a short clip must train too. Where that is less
    than ``min_frames`` all of it trains.
    """
    start = -(-(total - min(hold_out_frames, total // 3)) // GRID) * GRID
    return start if hold_out_frames > 0 and total - start >= min_frames else None


def _cut(start: int, stop: int, parts: int, min_frames: int) -> list[Segment]:
    if stop - start < min_frames or parts < 1:
        return []
    length = -(-(stop - start) // (parts * GRID)) * GRID
    cuts = [Segment(begin, min(begin + length, stop)) for begin in range(start, stop, length)]
    return [segment for segment in cuts if segment.num_frames >= min_frames]


def cut_mel(mel_SM: np.ndarray, segment: Segment) -> np.ndarray:
    """The mel steps of ``segment``: as many as its own sound would have, ``1 + samples // 200``."""
    first = segment.start // GRID * WINDOW_MEL_STEPS
    return mel_SM[first : first + 1 + segment.num_frames * MEL_STEPS_PER_SECOND // FPS]


def cut_audio(samples: np.ndarray, segment: Segment) -> np.ndarray:
    """The samples heard while ``segment`` is shown."""
    return samples[segment.start * SAMPLES_PER_FRAME : segment.stop * SAMPLES_PER_FRAME]
