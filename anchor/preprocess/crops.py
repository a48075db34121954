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
from anchor.preprocess.people import Person
from anchor.preprocess.segments import Segment, plan_segments
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.speaking import MouthMotion
from anchor.preprocess.spool import CropSpool

__all__ = ["PersonCrops", "cut_crops", "make_thumbnail"]

THUMBNAIL_PX = 64


@dataclass
class PersonCrops:
    """One person's crops, and how the mouth moves where that was asked for."""

    person: Person
    spool: CropSpool
    motion: MouthMotion | None


def cut_crops(
    frames: Iterable[tuple[int, np.ndarray]], people: list[Person], settings: ClipSettings, folder: Path
) -> list[PersonCrops]:
    """Crop, encode and spool into ``folder`` the frames of each person that a segment may need."""
    crops, wanted = [], []
    for person in people:
        motion = MouthMotion(len(person.track.ids)) if settings.faces == "speaking" else None
        crops.append(PersonCrops(person, CropSpool(folder / f"spool{person.suffix}"), motion))
        wanted.append(mark_frames(plan(person.track.ids, settings), len(person.track.ids)))
    for index, frame in frames:
        for own, wanted_T in zip(crops, wanted, strict=True):
            if index < len(wanted_T) and wanted_T[index]:
                crop = crop_face(frame, own.person.track.boxes[index], settings.image_size)
                grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
                own.spool.add(index, encode_rgb(crop), float(grey.std()))
                if own.motion is not None:
                    own.motion.add(index, grey)
    return crops


def plan(ids_T: np.ndarray, settings: ClipSettings) -> list[Segment]:
    """The segments of a face with these ids."""
    return plan_segments(ids_T, settings.max_frames, settings.min_frames, settings.min_segments)


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
