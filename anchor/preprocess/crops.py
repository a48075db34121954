"""The second pass over a clip: every face cut out of every frame that may be wanted."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anchor.faces import crop_face
from anchor.ops.jpeg import decode_rgb, encode_rgb
from anchor.preprocess.cleaning.align import crop_aligned
from anchor.preprocess.cleaning.measures import LookLog
from anchor.preprocess.people import Person
from anchor.preprocess.segments import Segment, hold_out_from, plan_segments
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.speaking import MouthMotion
from anchor.preprocess.spool import CropSpool
from anchor.preprocess.sync import MouthLog

__all__ = ["PersonCrops", "cut_crops", "make_thumbnail"]

THUMBNAIL_PX = 64
MOUTH_PX = 64  # side of the smallest crop that an offset can be measured in


@dataclass
class PersonCrops:
    """One person's crops, how they look, and how the mouth moves."""

    person: Person
    spool: CropSpool
    looks: LookLog
    motion: MouthMotion
    mouth: MouthLog | None  # for the offset, where it is asked for


def cut_crops(
    frames: Iterable[tuple[int, np.ndarray]], people: list[Person], settings: ClipSettings, folder: Path
) -> list[PersonCrops]:
    """Crop, encode and spool into ``folder`` the frames of each person that a segment may need."""
    crops, wanted = [], []
    for person in people:
        total = len(person.track.ids)
        spool = CropSpool(folder / f"spool{person.suffix}")
        mouth = None if settings.offset == "off" else MouthLog(total)
        crops.append(PersonCrops(person, spool, LookLog(total), MouthMotion(total), mouth))
        wanted.append(mark_frames(plan(person.track.ids, settings), total))
    for index, frame in frames:
        for own, wanted_T in zip(crops, wanted, strict=True):
            if index < len(wanted_T) and wanted_T[index]:
                _add(own, index, frame, settings.image_size)
    return crops


def _add(own: PersonCrops, index: int, frame: np.ndarray, size: int) -> None:
    box = own.person.track.boxes[index]
    if own.person.transforms is None:
        crop = crop_face(frame, box, size)
    else:
        crop = crop_aligned(frame, own.person.transforms[index], size)
    own.spool.add(index, encode_rgb(crop))
    own.looks.add(index, frame, box)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    own.motion.add(index, grey)
    if own.mouth is not None and own.mouth.wants(index):
        ids_T = own.person.track.ids
        if size < MOUTH_PX:
            grey = cv2.resize(grey, (MOUTH_PX, MOUTH_PX), interpolation=cv2.INTER_LINEAR)
        own.mouth.add(index, grey, is_new=index > 0 and bool(ids_T[index] != ids_T[index - 1]))


def plan(ids_T: np.ndarray, settings: ClipSettings) -> list[Segment]:
    """The segments of a face with these ids."""
    cut_at = hold_out_from(len(ids_T), settings.hold_out_frames, settings.min_frames)
    return plan_segments(ids_T, settings.max_frames, settings.min_frames, settings.min_segments, cut_at)


def mark_frames(segments: Iterable[Segment], total: int) -> np.ndarray:
    """Bool (T,): the frames of ``segments``."""
    marks_T = np.zeros(total, bool)
    for segment in segments:
        marks_T[segment.start : segment.stop] = True
    return marks_T


def make_thumbnail(jpeg: bytes) -> str:
    """A small picture of a crop as data URI."""
    small = cv2.resize(decode_rgb(jpeg), (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return f"data:image/jpeg;base64,{base64.b64encode(encode_rgb(small, quality=80)).decode()}"
