"""What became of one video, in memory and as JSON beside its segments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["ClipResult", "SegmentResult"]


@dataclass(frozen=True)
class SegmentResult:
    """One segment that was kept; its members lie in a folder of its key, one file each."""

    key: str
    speaker: str
    start: int  # frame in the source
    num_frames: int
    num_bytes: int  # of its members
    face: int | None = None  # which of the clip's faces; None where only one was asked for


@dataclass
class ClipResult:
    """What became of one video."""

    source: str
    speaker: str
    is_kept: bool = False
    reason: str = ""  # why it was refused
    is_settled: bool = True  # the same file and settings would give the same again
    notes: list[str] = field(default_factory=list)
    segments: list[SegmentResult] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # size, rates, detector, hit rate, milliseconds per frame ...
    thumbnails: list[tuple[str, str]] = field(default_factory=list)  # caption and JPEG as data URI

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
        segments = [SegmentResult(**segment) for segment in values.pop("segments")]
        thumbnails = [(caption, uri) for caption, uri in values.pop("thumbnails")]
        return ClipResult(**values, segments=segments, thumbnails=thumbnails)
