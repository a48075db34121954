"""Every generator on every pair: scores, pictures, films and the worst seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchor.batch import ClipEntry
from anchor.evaluation.board import Board
from anchor.evaluation.clips import ClipShelf, pair_up
from anchor.evaluation.drawing import draw_pair
from anchor.evaluation.films import Film, film_dub, film_own
from anchor.evaluation.gallery import Failure, cut_windows, find_worst
from anchor.evaluation.hearing import Hearing
from anchor.evaluation.mouths import Judges, PairResult, Strip, make_strip, measure_speed, score_drawn, sum_up
from anchor.inference import ReferenceKind, show_progress
from anchor.models import LipGenerator

__all__ = ["Asked", "StageScores", "score_generators"]

WORST = 20
KEPT_A_CLIP = 6  # windows of a clip whose pictures are kept until all clips are known


@dataclass(frozen=True)
class Asked:
    """What is wanted."""

    protocols: tuple[str, ...]
    reference: ReferenceKind
    batch_size: int
    strips: int
    films: int
    seen: frozenset[str]  # speakers of whom other minutes were trained on: protocol=person is about them


@dataclass
class StageScores:
    """What was found."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)  # by generator
    details: dict[str, Any] = field(default_factory=dict)
    strips: list[Strip] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    silent_clips: int = 0
    resized: list[str] = field(default_factory=list)


def score_generators(
    generators: Mapping[str, LipGenerator],
    shelf: ClipShelf,
    clips: Sequence[ClipEntry],
    judges: Judges,
    asked: Asked,
) -> StageScores:
    """Draw and measure; ``ours`` is the first of ``generators``, and the others are drawn on the same clips."""
    found = StageScores()
    boards = {name: Board() for name in generators}
    hearings = {name: Hearing() for name in generators}
    results: dict[str, list[PairResult]] = {name: [] for name in generators}
    shelves = {shelf.image_size: shelf}
    for name, generator in generators.items():
        if generator.image_size not in shelves:
            shelves[generator.image_size] = ClipShelf(shelf.source, generator.image_size, shelf.max_frames)
        if generator.image_size != shelf.image_size:
            found.resized.append(f"{name} ({generator.image_size} px to {shelf.image_size} px)")
    kinds = tuple(kind for kind, needs in (("self", "self"), ("dub", "cross")) if needs in asked.protocols)
    pairs = pair_up(clips, shelf.max_frames)
    windows: list[Failure] = []
    for number, pair in enumerate(show_progress(pairs, len(pairs), "draw and measure", "pairs")):
        drawn_by = {
            name: draw_pair(
                generator,
                shelves[generator.image_size],
                pair,
                reference=asked.reference,
                batch_size=asked.batch_size,
                with_silence="silence" in asked.protocols,
                seen_on=shelf,
            )
            for name, generator in generators.items()
        }
        protocols = tuple(p for p in asked.protocols if p != "person" or pair.face.speaker in asked.seen)
        for name, drawn in drawn_by.items():
            scores = score_drawn(boards[name], drawn, shelf, pair, judges, protocols)
            results[name].append(PairResult(pair, scores))
            hearings[name].listen(drawn, (*kinds, "real"))
        first = drawn_by["ours"]
        windows += find_worst(cut_windows(first), KEPT_A_CLIP)
        if number < asked.strips:
            found.strips.append(make_strip(pair, drawn_by))
        if number < asked.films:
            found.films.append(film_own(drawn_by, shelf.source.read_audio(pair.face)))
            found.films.append(film_dub(drawn_by, shelf.source.read_audio(pair.speech)))
    for name, generator in generators.items():
        summary, rows = sum_up(results[name], boards[name])
        verdicts, curves = hearings[name].verdicts()
        speed = measure_speed(generator, generator.image_size, asked.batch_size)
        found.scores[name] = summary | verdicts | speed
        if name == "ours":
            found.details |= {"pairs": rows, "referee_curves": curves}
        else:
            found.details.setdefault("compared_referee_curves", {})[name] = curves
    found.failures = find_worst(windows, WORST)
    found.kinds = {pair.kind for pair in pairs}
    found.silent_clips = hearings["ours"].silent_clips
    return found
