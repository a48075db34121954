"""What became of one video, in memory and as JSON beside its segments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from anchor.preprocess.cleaning.limits import SILENT
from anchor.preprocess.cleaning.measures import SegmentMeasures

__all__ = ["DUPLICATE", "KEPT", "ClipResult", "SegmentResult", "Thumbnail"]

KEPT, DUPLICATE = "kept", "duplicate"


class Thumbnail(NamedTuple):
    """A picture of a segment for the report."""

    key: str  # of the segment
    caption: str
    uri: str  # a JPEG as data URI


@dataclass(frozen=True)
class SegmentResult:
    """One segment that was considered; where it was written its members lie in a folder of its key."""

    key: str
    speaker: str
    start: int  # frame in the source
    num_frames: int
    num_bytes: int = 0  # of its members; 0 where nothing was written
    face: int | None = None  # which of the clip's faces; None where only one was asked for
    decision: str = KEPT  # "kept", "duplicate" or one of cleaning.limits.KINDS; "silent" may yet be kept by the quota
    why: str = ""  # the values measured, and the limits
    measures: SegmentMeasures | None = None
    is_held_out: bool = False  # it lies in the end of the clip that hold_out_s keeps for validation

    @property
    def is_kept(self) -> bool:
        """Whether it goes into the set, as far as is known."""
        return self.decision == KEPT

    @property
    def is_reserve(self) -> bool:
        """Whether it is silent and was written, so that the quota may keep it."""
        return self.decision == SILENT and self.num_bytes > 0


@dataclass
class ClipResult:
    """What became of one video."""

    source: str
    speaker: str
    is_kept: bool = False
    reason: str = ""  # why it was refused
    is_settled: bool = True  # the same file and settings would give the same again
    notes: list[str] = field(default_factory=list)
    segments: list[SegmentResult] = field(default_factory=list)  # all that were considered
    facts: dict[str, Any] = field(default_factory=dict)  # size, rates, detector, hit rate, milliseconds per frame ...
    thumbnails: list[Thumbnail] = field(default_factory=list)
    fingerprint: dict[str, Any] = field(default_factory=dict)  # see cleaning.fingerprint; empty where none was made

    @property
    def kept_segments(self) -> list[SegmentResult]:
        """Those that go into the set."""
        return [segment for segment in self.segments if segment.is_kept]

    @property
    def may_be_kept(self) -> bool:
        """Whether a segment is kept, or is silent and the quota may keep it."""
        return any(segment.is_kept or segment.is_reserve for segment in self.segments)

    def to_json(self) -> str:
        """All of it; ``from_json`` is the inverse."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ClipResult:
        """The result that ``to_json`` wrote.

        Raises:
            ValueError, TypeError, KeyError: it did not.
        """
        values = json.loads(text)
        segments = []
        for segment in values.pop("segments"):
            measures = segment.pop("measures")
            segments.append(SegmentResult(**segment, measures=measures and SegmentMeasures(**measures)))
        thumbnails = [Thumbnail(*one) for one in values.pop("thumbnails")]
        return ClipResult(**values, segments=segments, thumbnails=thumbnails)
