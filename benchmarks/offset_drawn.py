"""The measured A/V offset of drawn speakers against the one they were drawn with.

    python benchmarks/offset_drawn.py [clips=24] [seconds=8]

Every clip has another speaker and an offset between -480 and +480 ms; every fourth has a cut, noise or pauses.
"""

import sys

import numpy as np

from anchor.ops.mel import log_mel
from anchor.preprocess.sync import MouthLog, measure_offset
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

HARD = ({"cut": True}, {"noise": 8.0}, {"silence": 0.25})


def main() -> None:
    """Print each clip and a summary."""
    from anchor.faces import FaceTracker, TrackSettings, crop_face, make_detector

    options = dict(word.split("=", 1) for word in sys.argv[1:])
    count, seconds = int(options.get("clips", "24")), float(options.get("seconds", "8"))
    detector = make_detector("auto")
    errors = []
    for number in range(count):
        drawn_ms = int(np.linspace(-480, 480, count)[number] // 40 * 40)
        more = HARD[number // 4 % 3] if number % 4 == 3 else {}
        clip = make_clip(draw_person(500 + number, number), 0, seconds=seconds, size=256, offset_ms=drawn_ms, **more)
        frames = list(clip.frames())
        tracker = FaceTracker(detector, TrackSettings())
        for index, frame in enumerate(frames):
            tracker.add(index, frame)
        track = tracker.result(len(frames))
        log = MouthLog(len(frames))
        last = -1
        for index, frame in enumerate(frames):
            if track.ids[index] >= 0:
                log.add(index, crop_face(frame, track.boxes[index], 192), is_new=track.ids[index] != last)
                last = track.ids[index]
        offset = measure_offset(log, log_mel(clip.samples))
        error = None if offset.offset_ms is None else offset.offset_ms - drawn_ms
        if offset.status == "established":
            errors.append(error)
        print(f"{clip.stem:<12} drawn {drawn_ms:+5d} ms  {offset}  score {offset.score:.1f}  {more or ''}", flush=True)
    worst = max(map(abs, errors), default=0)
    print(
        f"{len(errors)} of {count} established ({detector.name}); error {np.mean(errors):+.0f} ms in the mean, "
        f"{worst:.0f} ms at most, {sum(abs(e) <= 40 for e in errors)} within a frame"
    )


if __name__ == "__main__":
    main()
