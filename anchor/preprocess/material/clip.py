"""Measure one video: its packets, some of its pictures, all of its sound, 30 s of its lips.

Shape suffixes: T frames at 25 fps.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np

from anchor.faces import DetectorName, FaceDetector, FaceTracker, TrackSettings, make_detector
from anchor.media import probe
from anchor.preprocess.material.hearing import measure_sound
from anchor.preprocess.material.lips import cut_pieces, measure_lips, plan_pieces
from anchor.preprocess.material.looks import FaceLog
from anchor.preprocess.material.measures import Faces, Measures, Pictures
from anchor.preprocess.material.sampling import SAMPLE_STRIDE, frame_from, plan_moments, read_moments, read_timeline
from anchor.preprocess.material.verdict import MIN_FRAMES
from anchor.preprocess.watch import beat
from anchor.timing import FPS, WINDOW_FRAMES, num_frames

__all__ = ["measure_clip"]

CROWD_SHARE = 0.2  # of the frames that must show so many faces at once
SHOWN = (0.12, 0.5, 0.88)  # places among the frames with a face, whose crops the report shows


def measure_clip(path: Path, detector: DetectorName = "auto", threads: int = 1) -> tuple[Measures, Pictures]:
    """Measure one video; at most 300 of its pictures are looked at for the face, 30 s for the lips.

    Raises:
        MediaError: the file is missing, empty, damaged, or holds no video.
        FaceError: the detector asked for is not on this machine.
    """
    path = Path(path)
    info = probe(path)
    sound, samples, reason = measure_sound(path)
    timeline = read_timeline(path, info)
    first = max(0, frame_from(info.offset_s))
    total = max(first, frame_from(info.offset_s + timeline.seconds))
    total = max(first, min(total, num_frames(len(samples)))) if sound is not None else total
    moments = plan_moments(timeline, info, first, total)
    pieces = plan_pieces(timeline, info, first, total) if sound is not None else []
    heard = cut_pieces(samples, pieces)
    del samples
    log = FaceLog(_detector(detector))
    tracker = FaceTracker(log, TrackSettings(stride=SAMPLE_STRIDE))
    for log.frame, picture in read_moments(path, info, moments, threads):
        beat()
        tracker.add(log.frame, picture)
    track = tracker.result(total)
    is_seen_T = np.zeros(total, bool)
    for moment in moments:
        is_seen_T[moment.frames[0] : moment.frames[-1] + 1] = True
    ids_T = np.where(is_seen_T, track.ids, -1)
    runs = _runs(ids_T)
    num_seen = int(is_seen_T.sum())
    usable_share = sum(run for run in runs if run >= MIN_FRAMES) / max(1, num_seen) * (sound is not None)
    is_whole = bool(moments) and num_seen == moments[-1].frames[-1] + 1 - moments[0].frames[0]
    lips = None
    if pieces and any(run >= MIN_FRAMES for run in runs):
        known = track if is_whole else None
        lips = measure_lips(path, info, pieces, heard, _detector(detector), known, threads)
    faces, pictures = _measure_faces(log, ids_T, track.boxes, num_seen)
    measures = Measures(
        width=info.width, height=info.height, fps=round(timeline.fps, 3), is_variable_rate=timeline.is_variable,
        codec=info.codec, frames=total, usable_s=round(usable_share * total / FPS, 2), longest_run=max(runs, default=0),
        frames_seen=num_seen, detector=log.name, faces=faces, sound=sound, sound_reason=reason,
        lips=lips,
    )  # fmt: skip
    return measures, pictures


def _measure_faces(
    log: FaceLog, ids_T: np.ndarray, boxes_T4: np.ndarray, num_seen: int
) -> tuple[Faces | None, Pictures]:
    """The followed face where it was found, in the middle of what is measured."""
    followed = [frame for frame in log.counts if ids_T[frame] >= 0]
    pairs = [(frame, look) for frame in followed if (look := log.nearest(frame, boxes_T4[frame])) is not None]
    if not pairs:
        some = sorted(log.counts)
        return None, Pictures(log.view(some[len(some) // 2]) if some else None)
    heights = [float(boxes_T4[frame][3] - boxes_T4[frame][1]) for frame, _ in pairs]
    looks = [look for _, look in pairs]
    faces = Faces(
        found_share=round(float((ids_T >= 0).sum()) / max(1, num_seen), 3),
        count=_crowd(list(log.counts.values())),
        height_px=round(float(np.median(heights))),
        sharpness=round(float(np.median([look.sharpness for look in looks])), 3),
        luma=round(float(np.median([look.exposure.luma for look in looks])), 1),
        dark_share=round(float(np.median([look.exposure.dark_share for look in looks])), 3),
        bright_share=round(float(np.median([look.exposure.bright_share for look in looks])), 3),
        contrast=round(float(np.median([look.exposure.contrast for look in looks])), 1),
    )
    middle, box = pairs[len(pairs) // 2][0], boxes_T4[pairs[len(pairs) // 2][0]]
    shown = [pairs[int(place * len(pairs))][1].crop for place in SHOWN]
    return faces, Pictures(log.view(middle, box), shown)


def _crowd(counts: list[int]) -> int:
    """The largest number of faces that a fifth of the frames show at once; at least the one followed."""
    sure = np.array(counts)
    return max((n for n in range(2, int(sure.max(initial=0)) + 1) if (sure >= n).mean() >= CROWD_SHARE), default=1)


def _runs(ids_T: np.ndarray) -> list[int]:
    """How long each face is there in a row, from the first frame on that a segment can begin with."""
    edges = [0, *(np.flatnonzero(np.diff(ids_T)) + 1), len(ids_T)]
    spans = [
        (-(-int(start) // WINDOW_FRAMES) * WINDOW_FRAMES, int(stop), int(start))
        for start, stop in itertools.pairwise(edges)
    ]
    return [stop - begin for begin, stop, start in spans if stop > begin and ids_T[start] >= 0]


@functools.lru_cache(maxsize=1)
def _detector(name: DetectorName) -> FaceDetector:
    """One per process: loading a model costs more than a short clip."""
    return make_detector(name)
