"""Whose face is cut out: one at any time, or every one that lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from anchor.errors import FaceError, MediaError
from anchor.faces import FaceTrack
from anchor.preprocess.cleaning.align import align_track
from anchor.preprocess.cleaning.limits import MIN_FACE_PX
from anchor.preprocess.cleaning.points import FacePoints, points_of
from anchor.preprocess.finding import FaceFinder
from anchor.preprocess.segments import plan_segments
from anchor.preprocess.settings import ClipSettings

__all__ = ["MIN_FACE_PX", "Person", "face_height", "find_people", "is_company"]


@dataclass(frozen=True)
class Person:
    """One face of a clip."""

    number: int | None  # the largest and most lasting is 0; None where only one was asked for
    track: FaceTrack
    points: FacePoints | None = None  # eyes, nose and mouth in the frames looked at
    transforms: np.ndarray | None = None  # float64 (T, 2, 3), frame to crop, where faces are aligned

    @property
    def suffix(self) -> str:
        """What it adds to the names of its segments."""
        return "" if self.number is None else f"_f{self.number}"


def find_people(finder: FaceFinder, total: int, settings: ClipSettings, name: str) -> tuple[list[Person], list[str]]:
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
    tracks = [finder.result(total)] if settings.faces == "largest" else finder.faces(total)
    lasting = [track for track in tracks if _lasts(track, settings)]
    if not lasting:
        with_face = int(np.any([track.ids >= 0 for track in tracks], axis=0).sum()) if tracks else 0
        what = (
            f"a face in {with_face} of {total} frames, never {settings.min_frames} in a row" if with_face else "no face"
        )
        raise FaceError(f"{name}: {what}. Use a clip that shows one person from the front, or another detector=.")
    least = settings.limits.min_face_px or 0
    large = [track for track in lasting if face_height(track) >= least]
    if not large:
        px = max(face_height(track) for track in lasting)
        raise FaceError(
            f"{name}: the face is {px} px high, lips need {least:g} (min_face_px). Use a closer or a larger picture."
        )
    people = [_mark(Person(number, track), finder, settings) for number, track in enumerate(large)]
    people = [person for person in people if _lasts(person.track, settings)]
    if not people:
        raise FaceError(f"{name}: eyes and mouth are not found for long enough to align the face. Use align=off.")
    if settings.faces == "largest":
        return [replace(people[0], number=None)], _note_company(finder, total, settings)
    small = len(lasting) - len(large)
    notes = [f"{small} face{'s' * (small > 1)} less than {least:g} px high left out"] if small else []
    return people, notes


def _note_company(finder: FaceFinder, total: int, settings: ClipSettings) -> list[str]:
    """Who else is seen at once with the one that is taken."""
    lasting = [Person(None, track) for track in finder.faces(total) if _lasts(track, settings)]
    if not is_company(lasting):
        return []
    seen = int(np.sum([person.track.ids >= 0 for person in lasting], axis=0).max())
    return [
        f"{seen} faces are seen at once, and the largest is taken; faces=speaking takes the one that speaks, "
        "faces=all each of them"
    ]


def _lasts(track: FaceTrack, settings: ClipSettings) -> bool:
    return bool(plan_segments(track.ids, settings.max_frames, settings.min_frames))


def _mark(person: Person, finder: FaceFinder, settings: ClipSettings) -> Person:
    """``person`` with its points, and laid upright where that was asked for."""
    points = points_of(finder.found, person.track)
    if settings.align == "off":
        return replace(person, points=points)
    if points is None:
        return replace(person, track=replace(person.track, ids=np.full_like(person.track.ids, -1)))
    track, transforms = align_track(person.track, points, settings.image_size)
    return replace(person, track=track, points=points, transforms=transforms)


def face_height(track: FaceTrack) -> int:
    """The median height of the face in px."""
    boxes = track.boxes[track.ids >= 0]
    return round(float(np.median(boxes[:, 3] - boxes[:, 1])))


def is_company(people: list[Person]) -> bool:
    """Whether two are ever seen at once; else all the faces may be one person in several shots."""
    return bool(people) and int(np.sum([person.track.ids >= 0 for person in people], axis=0).max()) > 1
