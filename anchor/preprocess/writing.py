"""The last step of a clip: every segment measured, judged, and written where it may be kept.

Shape suffixes: S mel steps, M mel bins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import MediaError
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.cleaning.limits import KINDS, Verdict, judge
from anchor.preprocess.cleaning.measures import MouthRest, SegmentMeasures, measure_segment
from anchor.preprocess.crops import PersonCrops, make_thumbnail, plan
from anchor.preprocess.people import Person, is_company
from anchor.preprocess.results import ClipResult, SegmentResult, Thumbnail
from anchor.preprocess.segments import Segment, cut_audio, cut_mel, hold_out_from
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sources import Source
from anchor.preprocess.spool import write_members
from anchor.preprocess.timing_check import Settled
from anchor.preprocess.truth import cut_truth
from anchor.shards import encode_clip
from anchor.timing import FPS

__all__ = ["SegmentWriter", "count_left_out"]

MAX_THUMBNAILS = 8


@dataclass
class SegmentWriter:
    """Writes the segments of one clip under ``folder`` and notes them in ``result``."""

    source: Source
    settings: ClipSettings
    folder: Path
    result: ClipResult
    timing: Settled
    mel_SM: np.ndarray
    truth: dict[str, Any]

    def write(self, people: Sequence[Person], crops: Sequence[PersonCrops]) -> None:
        """Consider every segment of ``people``, in which frames may have been taken away since ``crops`` were cut.

        Raises:
            MediaError: a frame could not be read a second time.
            WriteError: the folder cannot be written.
        """
        has_company = is_company([own.person for own in crops])
        by_number = {own.person.number: own for own in crops}
        for person in people:
            ids_T = np.full_like(person.track.ids, -1)
            ids_T[self.timing.frames] = person.track.ids[self.timing.frames]
            mouth = MouthRest(by_number[person.number].motion.motion_T, self.timing.samples_L)
            for segment in plan(ids_T, self.settings):
                self._consider(person, by_number[person.number], mouth, segment, has_company)

    def _consider(
        self, person: Person, crops: PersonCrops, mouth: MouthRest, segment: Segment, has_company: bool
    ) -> None:
        span = range(segment.start, segment.stop)
        missing = [number for number in span if number not in crops.spool]
        if missing:
            raise MediaError(
                f"frame {missing[0]} of {self.source.path} could be read once but not again. Copy the clip again."
            )
        audio = cut_audio(self.timing.samples_L, segment)
        measures = measure_segment(segment, person.track, crops.looks, person.points, mouth, audio)
        verdict = judge(measures, self.settings.limits)
        if self.timing.is_refused(person.number, self.settings):
            verdict = Verdict("no match", self.timing.faces[person.number].reason)
        speaker = self.result.speaker + (person.suffix if has_company else "")
        key = f"{self.source.key}{person.suffix}_{segment.start:06d}"
        jpegs = crops.spool.read(span)
        num_bytes = 0
        if verdict.is_written:
            meta = self._meta(person, segment, key, speaker, measures)
            if self.truth and not has_company:  # the truth does not say which of several faces it means
                meta["truth"] = cut_truth(self.truth, segment)
            extra: dict[str, Any] = {} if self.settings.codec == "jpeg" else {"codec": self.settings.codec}
            members = encode_clip(jpegs, cut_mel(self.mel_SM, segment), audio, meta, **extra)
            num_bytes = write_members(self.folder / key, members)
        held_out_from = hold_out_from(len(person.track.ids), self.settings.hold_out_frames, self.settings.min_frames)
        self.result.segments.append(
            SegmentResult(key, speaker, segment.start, segment.num_frames, num_bytes, person.number, verdict.decision,
                          verdict.why, measures, held_out_from is not None and segment.start >= held_out_from)
        )  # fmt: skip
        self._show(key, person, segment, jpegs)

    def _meta(
        self, person: Person, segment: Segment, key: str, speaker: str, measures: SegmentMeasures
    ) -> dict[str, Any]:
        span = slice(segment.start, segment.stop)
        meta = {
            "key": key, "speaker": speaker, "fps": FPS, "num_frames": segment.num_frames,
            "image_size": self.settings.image_size, "source": self.source.name, "start_s": segment.start / FPS,
            "boxes": np.round(person.track.boxes[span], 2).tolist(),
            "detector": self.result.facts["detector"], "mel_config_hash": mel_config_hash(),
            "offset_ms": self.timing.corrected_ms, "silence_share": measures.silence_share,
        }  # fmt: skip
        if person.number is not None:
            meta["face"] = person.number
        if person.transforms is not None:  # from px of the frame to px of the crop, see cleaning.align
            meta["transforms"] = np.round(person.transforms[span].reshape(-1, 6), 6).tolist()
        return meta

    def _show(self, key: str, person: Person, segment: Segment, jpegs: list[bytes]) -> None:
        """Two pictures of the segment for the report, as long as there is room."""
        shown = self.result.thumbnails
        for share in (1, 3):
            if len(shown) < MAX_THUMBNAILS:
                number = len(jpegs) * share // 4
                face = "" if person.number is None else f"face {person.number}, "
                caption = f"{face}{(segment.start + number) / FPS:.1f} s"
                shown.append(Thumbnail(key, caption, make_thumbnail(jpegs[number])))


def count_left_out(segments: Sequence[SegmentResult], name: str) -> str:
    """Why none of ``segments`` can be used, for the user: each kind with its number, and what helps the first."""
    if not segments:
        return f"{name}: no face lasts for a segment where the sound belongs to it. Use a longer clip, or lower min_s."
    counts = Counter(segment.decision for segment in segments)
    kind = counts.most_common(1)[0][0]
    first = next(segment.why for segment in segments if segment.decision == kind)
    said = ", ".join(f"{number} {what}" for what, number in counts.most_common())
    why = f" ({first})" if first else ""
    advice = KINDS.get(kind, "")
    return f"{name}: no segment can be used: {said}{why}.{f' {advice[0].upper()}{advice[1:]}.' if advice else ''}"
