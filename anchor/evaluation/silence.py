"""What a mouth does while nobody speaks: in the pauses of its own speech, and when all that is said is silence.

Shape suffixes: T frames, S side of the crops in pixels, C colour (RGB).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anchor.evaluation import meters
from anchor.evaluation.board import Board
from anchor.evaluation.drawing import Drawn
from anchor.evaluation.measures import jitter_sums, open_threshold, pixel_motion, silent_frames

__all__ = ["Openings", "score_silence"]

Openings = Callable[[np.ndarray], np.ndarray | None]  # crops (T, S, S, C) to how far their mouths open (T,), or None
NOTHING = np.zeros(0)


def score_silence(board: Board, drawn: Drawn, read: Openings | None) -> dict[str, float]:
    """``silence/``: drawn with silence. ``pause/``: with its own speech, in its pauses, as recorded and, ``_closed``,
    with silence=close. ``real/pause_``: the real face.

    An opening counts as open from 0.3 of the way between the person's real closed (5 %) and wide (95 %) mouth. Where no
    opening can be read, a mouth "moves" that changes more from a frame to the next than the median of the real one.
    """
    real, silent = drawn.face.faces_TSSC, drawn.silent_TSSC
    pauses_T = silent_frames(drawn.face.mel_SM, len(real))
    scores: dict[str, float] = {}
    openings = read(real) if read is not None else None
    values: list[np.ndarray | None]
    if read is not None and openings is not None and np.isfinite(openings).any():
        threshold, kind = open_threshold(openings), "leak"
        values = [read(silent) if len(silent) else NOTHING, read(drawn.own_TSSC), openings, read(drawn.closed_TSSC)]
    else:
        real_motion = pixel_motion(real)
        values = [pixel_motion(silent), pixel_motion(drawn.own_TSSC), real_motion, pixel_motion(drawn.closed_TSSC)]
        threshold, kind = float(np.median(real_motion)), "pixel_leak"
    everywhere = np.ones(len(silent), bool)
    names = (f"silence/{kind}", f"pause/{kind}", f"real/pause_{kind}", f"pause/{kind}_closed")
    for name, value_T, silent_T in zip(names, values, (everywhere, pauses_T, pauses_T, pauses_T), strict=True):
        if value_T is not None:
            scores[name] = board.count(name, meters.SilenceLeak, value_T, threshold, silent_T)
    if values[2] is not None:  # what a mouth that speaks all the time would get
        name = "real/open_share" if kind == "leak" else "real/pixel_open_share"
        scores[name] = board.count(name, meters.SilenceLeak, values[2], threshold, np.ones(len(real), bool))
    if len(silent) > 2:
        own_motion, silent_motion = pixel_motion(drawn.own_TSSC[: len(silent)]), pixel_motion(silent)
        scores["silence/motion_share"] = board.count(
            "silence/motion_share", meters.SumRatio, silent_motion.sum(), own_motion.sum()
        )
        real_sum = jitter_sums(real, real, chosen_T=pauses_T)[0]
        count = int((pauses_T[:-2] & pauses_T[1:-1] & pauses_T[2:]).sum())
        if count:  # second difference a triple, with silence over the real one in real pauses
            mean = jitter_sums(silent, silent)[0] / (len(silent) - 2)
            name = "silence/jitter_ratio"
            scores[name] = board.count(name, meters.SumRatio, mean * count, real_sum)
    return scores
