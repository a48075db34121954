"""How late the sound of one video is against its lips, measured on at most 30 s of it.

A clip of up to 30 s is looked at whole, a longer one at three pieces of 10 s. The pieces are put on a clock of their
own, one after the other with a second of their sound around each, so that nothing of the clip's length is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anchor.faces import FaceDetector, FaceTrack, FaceTracker, TrackSettings, crop_face
from anchor.media import VideoInfo
from anchor.ops.mel import log_mel
from anchor.preprocess.material.sampling import SAMPLE_STRIDE, Moment, Timeline, frame_from, read_moments
from anchor.preprocess.sync import MouthLog, Offset, measure_offset
from anchor.preprocess.watch import beat
from anchor.timing import FPS, MEL_FLOOR, MEL_STEPS_PER_SECOND, SAMPLES_PER_FRAME, WINDOW_FRAMES

__all__ = ["cut_pieces", "measure_lips", "plan_pieces"]

PIECES, PIECE = 3, 10 * FPS  # frames
AROUND = FPS  # frames of sound kept on either side of a piece
CROP_PX = 96


def plan_pieces(timeline: Timeline, info: VideoInfo, first: int, total: int) -> list[Moment]:
    """Which of the frames ``[first, total)`` are looked at: every one of a short clip, else three pieces of 10 s."""
    if total - first <= PIECES * PIECE:
        return [Moment(tuple(range(first, total)))] if total > first else []
    axis = info.start_s - info.offset_s
    keys = [(frame_from(key - axis), key) for key in timeline.keys_s]
    pieces, end = [], first
    for begin in np.linspace(first, total - PIECE, PIECES).astype(int):
        start = max(int(begin), end)
        before = [key for number, key in keys if number <= start]
        pieces.append(Moment(tuple(range(start, min(start + PIECE, total))), max(before) if before else None))
        end = start + PIECE
    return pieces


def cut_pieces(samples: np.ndarray, pieces: Sequence[Moment]) -> list[np.ndarray]:
    """The sound of each piece with a second around it, silence beyond the clip: float32 (L,) each."""
    cut = []
    for piece in pieces:
        start = (piece.frames[0] - AROUND) * SAMPLES_PER_FRAME
        stop = (piece.frames[-1] + 1 + AROUND) * SAMPLES_PER_FRAME
        inside = samples[max(0, start) : stop]
        before = max(0, -start)
        cut.append(np.pad(inside, (before, stop - start - before - len(inside))))
    return cut


def measure_lips(
    path: Path,
    info: VideoInfo,
    pieces: list[Moment],
    heard: list[np.ndarray],
    detector: FaceDetector,
    track: FaceTrack | None,
    threads: int = 1,
) -> Offset:
    """The offset of the face that is followed through ``pieces``, whose sound ``heard`` is.

    ``track`` has the face at every frame of the clip where that is known; else it is looked for.

    Raises:
        MediaError: the file is damaged.
    """
    if track is None:
        tracker = FaceTracker(detector, TrackSettings(stride=SAMPLE_STRIDE))
        for number, picture in read_moments(path, info, pieces, threads):
            beat()
            tracker.add(number, picture)
        track = tracker.result(pieces[-1].frames[-1] + 1)
    clock, mels = _clock(pieces, heard)
    log, last = MouthLog(), -1
    for number, picture in read_moments(path, info, pieces, threads):
        beat()
        face = int(track.ids[number])
        if face >= 0:
            log.add(clock[number], crop_face(picture, track.boxes[number], CROP_PX), is_new=face != last)
        last = face
    return measure_offset(log, np.concatenate(mels))


def _clock(pieces: list[Moment], heard: list[np.ndarray]) -> tuple[dict[int, int], list[np.ndarray]]:
    """Frame of the clip -> frame on the clock of the pieces, and the log-mel of each piece on that clock."""
    clock: dict[int, int] = {}
    mels, begin = [], 0
    for piece, samples in zip(pieces, heard, strict=True):
        clock |= {number: begin + AROUND + i for i, number in enumerate(piece.frames)}
        room = -(-(len(piece.frames) + 2 * AROUND) // WINDOW_FRAMES) * WINDOW_FRAMES  # 5 frames are 16 steps
        steps = room * MEL_STEPS_PER_SECOND // FPS
        mel_SM = log_mel(samples)[:steps]
        mels.append(np.pad(mel_SM, ((0, steps - len(mel_SM)), (0, 0)), constant_values=MEL_FLOOR))
        begin += room
    return clock, mels
