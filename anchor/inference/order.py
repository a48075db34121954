"""Which picture of the face is shown when, and which one tells the generator how this person looks."""

from __future__ import annotations

from typing import Literal

import numpy as np

from anchor.ops.references import nearest_in_pose

__all__ = ["ReferenceKind", "back_and_forth", "choose_references"]

ReferenceKind = Literal["nearest", "fixed", "shifted", "same"]


def back_and_forth(num_out: int, num_source: int) -> np.ndarray:
    """int64 (num_out,): source frames 0 1 .. n-1 n-2 .. 1 0 1 ..: a short video lasts as long as needed, with no jump.

    The frames at the turns are shown once, so the motion neither stops nor leaps there.
    """
    assert num_source > 0, "a face has at least one frame"
    place = np.arange(num_out) % max(1, 2 * (num_source - 1))
    return np.where(place < num_source, place, 2 * (num_source - 1) - place)


def choose_references(
    kind: ReferenceKind,
    ids_T: np.ndarray,
    poses_TP: np.ndarray | None = None,
    mouths_TQ: np.ndarray | None = None,
    *,
    count: int = 1,
) -> np.ndarray:
    """int64 (T, R): for every source frame the ``count`` frames that serve as its references; -1 where is no face.

    ``ids_T`` says whose face a frame holds, -1 for none: a reference is always the same face in the same shot.
    ``poses_TP`` and ``mouths_TQ`` hold their :func:`~anchor.ops.references.pose_vector` and ``mouth_vector``, and are
    needed for ``nearest`` alone; without the mouths the pose decides.

    * ``nearest``: the frame whose pose is most alike and whose mouth is not, at least half a second away: the rule of
      training (:mod:`anchor.ops.references`). Skin and mouth lie where they are to be drawn, so a moving head shows no
      second mouth. Of several the best comes first.
    * ``fixed``: the middle frame of the face's stretch, of several parts their middles. Nothing of the original speech
      moves in it.
    * ``shifted``: half a stretch away (of two a third and two thirds), whatever the pose. It walks to and fro as the
      video does, so it never leaps; where it meets the frame itself, it is ``same`` for a moment (no continuous road
      avoids that: Brouwer).
    * ``same``: the frame itself. Skin and pose fit best, and the old mouth is in sight.

    Measured when ``nearest`` looked at poses alone, by `anchor evaluate stage=generator reference=...` on 24 clips of
    12 drawn speakers never seen, dubbed with each other's speech (a 96 px generator of 2400 steps): r of the opening
    with the speech's truth .838 fixed, .823 nearest, .783 shifted, .795 same; with what the face really said -.01,
    -.03, -.01, .20: ``same`` lets the old mouth through. On a real head that turns and tilts (10 s of video to learn
    from) ``fixed`` drew a second mouth beside the first in 7 of 20 frames that were looked at, ``nearest`` in 1. So
    ``nearest`` is the default.
    """
    references_TR = np.full((len(ids_T), count), -1, np.int64)
    ranks_R = np.arange(count)
    for face in np.unique(ids_T[ids_T >= 0]):
        frames = np.flatnonzero(ids_T == face)
        if kind == "same":
            references_TR[frames] = frames[:, None]
        elif kind == "nearest":
            assert poses_TP is not None, "the nearest pose needs poses"
            mouths_FQ = None if mouths_TQ is None else mouths_TQ[frames]
            references_TR[frames] = frames[nearest_in_pose(poses_TP[frames], mouths_FQ, count)]
        elif kind == "fixed":
            references_TR[frames] = frames[(2 * ranks_R + 1) * len(frames) // (2 * count)]
        else:
            away_R = (ranks_R + 1) * len(frames) // (count + 1)
            road = back_and_forth(2 * len(frames), len(frames))
            references_TR[frames] = frames[road[np.arange(len(frames))[:, None] + away_R]]
    return references_TR
