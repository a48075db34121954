"""Whether the drawn mouth takes the shapes of the real one, frame by frame, where nobody knows how far it opens.

Shape suffixes: T frames, K components of the mouth.
"""

from __future__ import annotations

import numpy as np

from anchor.evaluation import meters
from anchor.evaluation.board import Board
from anchor.evaluation.drawing import Drawn
from anchor.evaluation.referee import see_mouth
from anchor.preprocess.sync.features import mouth_components

__all__ = ["score_shape"]


def score_shape(board: Board, drawn: Drawn) -> dict[str, float]:
    """``self/shape_r``, and ``copy/shape_r`` of the reference in its place: r with the real mouth's first component.

    Registered pixels without their slow trend, as the referee sees them; the component is that of real, drawn and
    copied mouths together, so none is read by another's measure. It is the opening of a lively mouth on a still head.
    """
    real = drawn.face.faces_TSSC
    mouths = {"real": real, "self": drawn.own_TSSC, "copy": real[drawn.references_T]}
    seen = {name: see_mouth(faces_TSSC, drawn.face.mel_SM).stretches for name, faces_TSSC in mouths.items()}
    stretches = [stretch for one in seen.values() for stretch in one]
    if not stretches:
        return {}
    components, _ = mouth_components(stretches)
    first_T = {name: np.full(len(real), np.nan) for name in mouths}
    owners = [name for name, one in seen.items() for _ in one]
    for name, stretch, component_TK in zip(owners, stretches, components, strict=True):
        first_T[name][stretch.start : stretch.start + len(component_TK)] = component_TK[:, 0]
    return {
        f"{name}/shape_r": board.count(f"{name}/shape_r", meters.OpeningCorrelation, first_T[name], first_T["real"])
        for name in ("self", "copy")
    }
