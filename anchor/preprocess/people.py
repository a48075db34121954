"""Whose face is cut out: one at any time, or every one that lasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchor.errors import FaceError, MediaError
from anchor.faces import FaceTrack, FaceTracker
from anchor.preprocess.segments import plan_segments
from anchor.preprocess.settings import ClipSettings

__all__ = ["Person", "face_height", "find_people", "is_company"]

MIN_FACE_PX = 32  # a face less high than this has no lips to learn from


@dataclass(frozen=True)
class Person:
    """One face of a clip."""

    number: int | None  # the largest and most lasting is 0; None where only one was asked for
    track: FaceTrack

    @property
    def suffix(self) -> str:
        """What it adds to the names of its segments."""
        return "" if self.number is None else f"_f{self.number}"


def find_people(tracker: FaceTracker, total: int, settings: ClipSettings, name: str) -> tuple[list[Person], list[str]]:
    """The faces of the first ``total`` frames that can be used, and notes on those that cannot.

    Raises:
        MediaError: the clip is shorter than a segment.
        FaceError: no face lasts for a segment, or all are too small.
    """
    if total < settings.min_frames:
        raise MediaError(
            f"{name}: picture and sound last {total} frames together, a segment needs {settings.min_frames}. "
            "Use a longer clip, or lower min_s."
        )
    tracks = [tracker.result(total)] if settings.faces == "largest" else tracker.faces(total)
    lasting = [track for track in tracks if plan_segments(track.ids, settings.max_frames, settings.min_frames)]
    if not lasting:
        with_face = int(np.any([track.ids >= 0 for track in tracks], axis=0).sum()) if tracks else 0
        what = (
            f"a face in {with_face} of {total} frames, never {settings.min_frames} in a row" if with_face else "no face"
        )
        raise FaceError(f"{name}: {what}. Use a clip that shows one person from the front, or another detector=.")
    large = [track for track in lasting if face_height(track) >= MIN_FACE_PX]
    if not large:
        px = max(face_height(track) for track in lasting)
        raise FaceError(f"{name}: the face is {px} px high, lips need {MIN_FACE_PX}. Use a closer or a larger picture.")
    if settings.faces == "largest":
        return [Person(None, large[0])], []
    small = len(lasting) - len(large)
    notes = [f"{small} face{'s' * (small > 1)} less than {MIN_FACE_PX} px high left out"] if small else []
    return [Person(number, track) for number, track in enumerate(large)], notes


def face_height(track: FaceTrack) -> int:
    """The median height of the face in px."""
    boxes = track.boxes[track.ids >= 0]
    return round(float(np.median(boxes[:, 3] - boxes[:, 1])))


def is_company(people: list[Person]) -> bool:
    """Whether two are ever seen at once; else all the faces may be one person in several shots."""
    return bool(people) and int(np.sum([person.track.ids >= 0 for person in people], axis=0).max()) > 1
