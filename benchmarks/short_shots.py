"""How far below a short shot's best score its true A/V offset lies, and a wrong one: where MAX_GAP comes from.

    python benchmarks/short_shots.py [people=30]

Drawn people, shots of 3.2 to 5.6 s. The limit stands in anchor/preprocess/timing_check.py.
"""

import sys

import numpy as np

from anchor.faces import crop_face
from anchor.ops.mel import log_mel
from anchor.preprocess.sync import Limits, MouthLog
from anchor.preprocess.sync.offset import measure_stretches
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

options = dict(word.split("=", 1) for word in sys.argv[1:])
true, wrong = [], []
for number in range(int(options.get("people", "30"))):
    clip = make_clip(draw_person(100 + number, number), 0, seconds=3.2 + 0.2 * (number % 13), size=96)
    log = MouthLog()
    for index, (frame, box) in enumerate(zip(clip.frames(), clip.boxes(), strict=True)):
        log.add(index, crop_face(frame, np.array(box), 64))
    curve = dict(measure_stretches(log.stretches(), log_mel(clip.samples), Limits(min_frames=75)).curve)
    if curve:
        best = max(curve.values())
        true.append(best - max(curve[-40], curve[0]))
        wrong += [best - max(curve[280], curve[320]), best - curve[-200]]
for name, gaps in (("true offset", true), ("wrong offset", wrong)):
    low, middle, high = np.percentile(gaps, (0, 50, 100))
    print(f"{name}: {low:.1f} to {high:.1f} below the best, median {middle:.1f} ({len(gaps)} gaps)")
