"""What goes into the set, decided over all clips: duplicates go, and silence is kept up to its quota.

Everything here depends on names, measures and the seed alone, so neither the number of workers nor the order in which
clips were finished matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from anchor.errors import ConfigError
from anchor.files import printable
from anchor.preprocess.cleaning.duplicates import find_same_files, find_same_recordings
from anchor.preprocess.cleaning.fingerprint import Fingerprint
from anchor.preprocess.cleaning.quota import draw_silent
from anchor.preprocess.results import DUPLICATE, KEPT, ClipResult
from anchor.preprocess.sources import Source
from anchor.preprocess.writing import count_left_out

__all__ = ["DuplicatesName", "Selection", "same_files", "select"]

DuplicatesName = Literal["drop", "keep"]


@dataclass(frozen=True)
class Selection:
    """How the set is chosen from the clips."""

    duplicates: DuplicatesName = "drop"
    silent_quota: float = 0.05  # share of the time kept that may be silent segments
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.silent_quota < 1:
            raise ConfigError(
                f"silent_quota={self.silent_quota:g} is no share of the time kept. Give 0 or more, and less than 1."
            )


def same_files(sources: Sequence[Source], selection: Selection) -> dict[int, ClipResult]:
    """The results of the sources that need not be processed: their bytes are those of an earlier one."""
    if selection.duplicates == "keep":
        return {}
    found = {}
    for number, original in find_same_files([source.path for source in sources]).items():
        source, name = sources[number], sources[original].name
        reason = f"{printable(str(source.path))}: it is the same file as {name}. Use duplicates=keep to have it twice."
        facts = {"duplicate_of": name, "duplicate_error": 0.0}
        found[number] = ClipResult(source.name, source.speaker, reason=reason, facts=facts)
    return found


def select(results: Sequence[ClipResult], selection: Selection) -> list[ClipResult]:
    """``results``, in order of source, with every segment decided."""
    chosen = _drop_duplicates(results) if selection.duplicates == "drop" else list(results)
    kept_frames = sum(segment.num_frames for result in chosen for segment in result.kept_segments)
    silent = [
        (segment.key, segment.num_frames) for result in chosen for segment in result.segments if segment.is_reserve
    ]
    drawn = draw_silent(silent, kept_frames, selection.silent_quota, selection.seed)
    return [_settle(result, drawn) for result in chosen]


def _settle(result: ClipResult, drawn: set[str]) -> ClipResult:
    segments = [
        replace(segment, decision=KEPT, why=f"{segment.why}; kept by silent_quota") if segment.key in drawn else segment
        for segment in result.segments
    ]
    is_kept = any(segment.is_kept for segment in segments)
    reason = result.reason
    if segments and not is_kept and not reason:
        reason = count_left_out(segments, result.source)
    frames = sum(segment.num_frames for segment in segments if segment.is_kept)
    facts = {**result.facts, "frames": frames} if "frames" in result.facts else result.facts
    return replace(result, segments=segments, is_kept=is_kept, reason=reason, facts=facts)


def _drop_duplicates(results: Sequence[ClipResult]) -> list[ClipResult]:
    prints = {
        number: Fingerprint.from_text(result.fingerprint)
        for number, result in enumerate(results)
        if result.may_be_kept and result.fingerprint
    }
    chosen = list(results)
    for number, twin in find_same_recordings(prints).items():
        result, name = results[number], results[twin.original].source
        why = f"the same recording as {name} ({twin.error:.0%} of the sound's bits differ)"
        segments = [
            replace(segment, decision=DUPLICATE, why=why) if segment.is_kept or segment.is_reserve else segment
            for segment in result.segments
        ]
        reason = f"{result.source}: {why}. Use duplicates=keep to have it twice."
        facts = {**result.facts, "duplicate_of": name, "duplicate_error": twin.error}
        chosen[number] = replace(result, segments=segments, reason=reason, facts=facts)
    return chosen
