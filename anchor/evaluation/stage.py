"""Every generator on every pair: scores, pictures, films and the worst seconds."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anchor.batch import ClipEntry
from anchor.evaluation.bench import Bench, Kit, do_all
from anchor.evaluation.board import Board
from anchor.evaluation.clips import Pair, pair_up
from anchor.evaluation.drawing import draw_pair
from anchor.evaluation.films import Film, film_dub, film_own
from anchor.evaluation.gallery import Failure, cut_windows, find_worst
from anchor.evaluation.hearing import Hearing
from anchor.evaluation.mouths import PairResult, Strip, make_strip, measure_speed, score_drawn, sum_up
from anchor.inference import ReferenceKind

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


@dataclass
class _Found:
    """What one pair gave, by generator; pictures, where they are shown, and the worst seconds of ours."""

    results: dict[str, PairResult] = field(default_factory=dict)
    boards: dict[str, Board] = field(default_factory=dict)
    hearings: dict[str, Hearing] = field(default_factory=dict)
    windows: list[Failure] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)


def score_generators(kit: Kit, bench: Bench, clips: Sequence[ClipEntry], asked: Asked, workers: int = 1) -> StageScores:
    """Draw and measure; ``ours`` is the first of the kit's generators, and the others are drawn on the same clips.

    The pairs are shared out among ``workers`` processes and summed in their own order: the same numbers for any count.
    """
    found = StageScores()
    names, size = list(bench.generators), bench.shelf.image_size
    found.resized = [f"{name} ({own} px to {size} px)" for name, own in bench.sizes.items() if own != size]
    pairs = pair_up(clips, kit.max_frames)
    score = functools.partial(_score_pair, asked)
    whole = _Found(boards={name: Board() for name in names}, hearings={name: Hearing() for name in names})
    results: dict[str, list[PairResult]] = {name: [] for name in names}
    for one in do_all(score, list(enumerate(pairs)), kit, bench, workers, "draw and measure", "pairs"):
        found.strips += one.strips
        found.films += one.films
        whole.windows += one.windows
        for name in names:
            whole.boards[name].join(one.boards[name])
            whole.hearings[name].join(one.hearings[name])
            results[name].append(one.results[name])
    for name, generator in bench.generators.items():
        summary, rows = sum_up(results[name], whole.boards[name])
        verdicts, curves = whole.hearings[name].verdicts()
        speed = measure_speed(generator, bench.sizes[name], asked.batch_size)
        found.scores[name] = summary | verdicts | speed
        if name == "ours":
            found.details |= {"pairs": rows, "referee_curves": curves}
            found.silent_clips = whole.hearings[name].silent_clips
        else:
            found.details.setdefault("compared_referee_curves", {})[name] = curves
    found.failures = find_worst(whole.windows, WORST)
    found.kinds = {pair.kind for pair in pairs}
    return found


def _score_pair(asked: Asked, bench: Bench, numbered: tuple[int, Pair]) -> _Found:
    number, pair = numbered
    drawn_by = {
        name: draw_pair(
            generator,
            bench.shelves[bench.sizes[name]],
            pair,
            reference=asked.reference,
            batch_size=asked.batch_size,
            with_silence="silence" in asked.protocols,
            with_held="self" in asked.protocols or "person" in asked.protocols,
            seen_on=bench.shelf,
        )
        for name, generator in bench.generators.items()
    }
    kinds = tuple(kind for kind, needs in (("self", "self"), ("dub", "cross")) if needs in asked.protocols)
    protocols = tuple(p for p in asked.protocols if p != "person" or pair.face.speaker in asked.seen)
    found = _Found()
    for name, drawn in drawn_by.items():
        board, hearing = Board(), Hearing()
        found.results[name] = PairResult(pair, score_drawn(board, drawn, bench.shelf, pair, bench.judges, protocols))
        hearing.listen(drawn, (*kinds, "real"))
        found.boards[name], found.hearings[name] = board.without_networks(), hearing
    found.windows = find_worst(cut_windows(drawn_by["ours"]), KEPT_A_CLIP)
    if number < asked.strips:
        found.strips.append(make_strip(pair, drawn_by))
    if number < asked.films:
        source = bench.shelf.source
        found.films.append(film_own(drawn_by, source.read_audio(pair.face)))
        found.films.append(film_dub(drawn_by, source.read_audio(pair.speech)))
    return found
