"""`anchor evaluate`: has this stage learnt? Scores for machines, a report for people."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from anchor.arguments import user_path
from anchor.batch import ClipEntry, ClipSource
from anchor.errors import ConfigError
from anchor.evaluation.bench import Bench, Kit, device_name, do_all, set_up
from anchor.evaluation.clips import choose_clips
from anchor.evaluation.curves import read_runs
from anchor.evaluation.expert_page import expert_lines
from anchor.evaluation.films import write_film
from anchor.evaluation.gates import note_gates
from anchor.evaluation.meters import ShiftCurve
from anchor.evaluation.notes import notes_of
from anchor.evaluation.opening import teach_reader
from anchor.evaluation.protocols import choose_protocols, look_at_split
from anchor.evaluation.report import Shown, render_report
from anchor.evaluation.stage import Asked, StageScores, score_generators
from anchor.evaluation.sync import ClipEmbedding, ExpertScores, embed_clip, score_expert
from anchor.evaluation.table import as_text
from anchor.faces.landmarks import LandmarkName
from anchor.files import write_whole
from anchor.inference import ReferenceKind
from anchor.models import WeightKind
from anchor.ops.mel import mel_config_hash
from anchor.timing import FPS

__all__ = ["evaluate", "evaluate_source"]

Stage = Literal["syncnet", "generator", "finetune", "quality"]
FORMAT_VERSION = 2


def evaluate(
    *,
    data: str,
    out: Path,
    stage: Stage = "generator",
    checkpoint: Path | None = None,
    expert: Path | None = None,
    compare: tuple[str, ...] = (),
    protocol: tuple[str, ...] = (),
    runs: tuple[Path, ...] = (),
    split: str = "val",
    max_clips: int = 48,
    max_seconds: float = 20.0,
    reference: ReferenceKind = "nearest",
    reader_steps: int = 400,
    strips: int = 4,
    films: int = 4,
    landmarks: LandmarkName = "auto",
    syncnet_weights: Path | None = None,
    lpips: Path | None = None,
    inception: Path | None = None,
    batch_size: int = 16,
    workers: int = 1,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    seed: int = 0,
    weights: WeightKind = "auto",
) -> None:
    """Score a stage on held-out clips: out/scores.json and out/report.html, which needs no network.

    data: shards, a folder or an address. stage: with syncnet the checkpoint is the expert, otherwise the generator.
    expert: beside a generator, scored itself and asked about the dubbed faces.
    compare: other generators on the same clips, base=PATH,tuned=PATH: columns of the table, panels of the films.
    protocol: self, cross, silence, person (held-out minutes of persons that training saw); none given: all that apply.
    weights: of all: ema (averaged), raw, or auto: averaged where a checkpoint has them.
    runs: run folders whose curves the report draws.
    max_seconds: of each clip that are looked at. reader_steps: how long the reader of mouth openings learns, where
    the training clips know their openings; 0 leaves it out. strips, films: clips that are shown as pictures, and as
    films with sound, which also lie in out/films.
    landmarks: auto (insightface, where its model is), mediapipe, insightface or none: then pixels are measured alone.
    syncnet_weights: the original SyncNet's, for LSE-D and LSE-C. lpips: torchvision's alexnet or vgg16 state dict, or
    a TorchScript. inception: a TorchScript for FID. What is not given is skipped, and the report says so.
    workers: processes that share the clips, each with a thread and, of several cards, a card of its own.
    """
    from anchor.shards import ShardSet

    record = evaluate_source(
        ShardSet(data),
        data=str(data),
        out=Path(out),
        stage=stage,
        checkpoint=checkpoint,
        expert=expert,
        compare=compare,
        protocol=protocol,
        runs=runs,
        split=split,
        max_clips=max_clips,
        max_seconds=max_seconds,
        reference=reference,
        reader_steps=reader_steps,
        strips=strips,
        films=films,
        landmarks=landmarks,
        syncnet_weights=syncnet_weights,
        lpips=lpips,
        inception=inception,
        batch_size=batch_size,
        workers=workers,
        device=device,
        seed=seed,
        weights=weights,
    )
    print(as_text(record["scores"], record["compared"]))
    for line in expert_lines(record["details"]):
        print(line)
    for sentence in record["notes"]:
        print(f"  note: {sentence}")
    for sentence in record["skipped"].values():
        print(f"  skipped: {sentence}")
    print(f"{Path(out) / 'report.html'}  {Path(out) / 'scores.json'}")


def evaluate_source(
    source: ClipSource,
    *,
    out: Path,
    data: str = "",
    stage: Stage = "generator",
    checkpoint: Path | None = None,
    expert: Path | None = None,
    compare: Sequence[str] = (),
    protocol: Sequence[str] = (),
    runs: tuple[Path, ...] = (),
    split: str = "val",
    max_clips: int = 48,
    max_seconds: float = 20.0,
    reference: ReferenceKind = "nearest",
    reader_steps: int = 400,
    strips: int = 4,
    films: int = 4,
    landmarks: LandmarkName = "auto",
    syncnet_weights: Path | None = None,
    lpips: Path | None = None,
    inception: Path | None = None,
    batch_size: int = 16,
    workers: int = 1,
    device: str = "auto",
    seed: int = 0,
    weights: WeightKind = "auto",
) -> dict[str, Any]:
    """:func:`evaluate` for any source of clips; returns what it wrote to scores.json.

    Raises:
        ConfigError: neither a generator nor an expert is given, a number or name makes no sense, or a run has no
            record.
        CheckpointError: a checkpoint or a given network is missing or of another kind.
        ShardError: the split has no clip that can be scored.
        FaceError: the landmark backend asked for is not here.
    """
    started = time.monotonic()
    generator_path, expert_path = _checkpoints(stage, checkpoint, expert)
    if max_clips < 1 or max_seconds < 1 or batch_size < 1 or workers < 1:
        raise ConfigError(
            f"max_clips={max_clips}, max_seconds={max_seconds:g}, batch_size={batch_size}, workers={workers}: "
            "each must be 1 or more."
        )
    others = _named_paths(compare, generator_path)
    kit = Kit(
        source=source,
        generators=({"ours": generator_path} if generator_path else {}) | others,
        expert=expert_path,
        weights=weights,
        lpips=lpips,
        inception=inception,
        syncnet_weights=syncnet_weights,
        landmarks=landmarks,
        device=device,
        max_frames=round(max_seconds * FPS),
    )
    bench = set_up(kit)
    curves = read_runs(runs)
    clips = choose_clips(source, split, max_clips, seed)
    held_out = look_at_split(source, clips, split)
    protocols = choose_protocols(protocol, held_out) if bench.generators else ()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be a folder ({error}). Give another.") from None
    judged = _judge_clips(kit, bench, clips, workers)
    found = StageScores()
    if bench.generators:
        reader = teach_reader(source, reader_steps, seed, bench.device)
        bench.judges.reader = reader
        asked = Asked(protocols, reference, batch_size, strips, films, held_out.seen)
        kit = replace(kit, reader=copy.deepcopy(reader).cpu() if reader is not None else None)
        found = score_generators(kit, bench, clips, asked, workers)
    main = found.scores.pop("ours", {})
    forced = note_gates((generator_path, expert_path))
    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "checkpoint": str(generator_path or expert_path),
        "expert": str(expert_path) if expert_path else None,
        "weights": weights,
        "data": data,
        "split": split,
        "held_out_by": held_out.by,
        "protocols": list(protocols),
        "seed": seed,
        "reference": reference,
        "mel_config_hash": mel_config_hash(),
        "landmarks": bench.judges.landmarks.name,
        "device": device_name(bench.device),
        "clips": [{"key": clip.key, "speaker": clip.speaker, "num_frames": clip.num_frames} for clip in clips],
        "scores": _rounded({**judged.scores, **main}),
        "compared": {
            name: {"checkpoint": str(path), "scores": _rounded(found.scores.get(name, {}))}
            for name, path in others.items()
        },
        "details": {**judged.details, **found.details},
        "failures": [
            {"clip": one.key, "first_frame": one.first_frame, "why": one.why, **_rounded(one.values)}
            for one in found.failures
        ],
        "skipped": bench.judges.given.skipped if bench.generators else {},
        "films": [],
        "forced": forced,
        "notes": [*forced, *held_out.notes()],
        "seconds": 0.0,
    }
    record["films"] = _write_films(found, out)
    if bench.generators:
        record["notes"] += notes_of(record, expert_path is not None, found)
    record["seconds"] = round(time.monotonic() - started, 1)
    write_whole(out / "scores.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    shown = Shown(found.strips, [out / film["file"] for film in record["films"]], found.failures)
    write_whole(out / "report.html", render_report(record, shown, curves))
    return record


def _named_paths(compare: Sequence[str], main: Path | None) -> dict[str, Path]:
    """``compare=`` as names and paths.

    Raises:
        ConfigError: a part is no NAME=PATH, a name comes twice or is taken, or there is no checkpoint to compare with.
    """
    named: dict[str, Path] = {}
    for part in compare:
        name, equals, text = part.partition("=")
        if not (name and equals and text) or name in named or name in ("ours", "real", "copy"):
            raise ConfigError(
                f"compare={part}: write compare=base=PATH,tuned=PATH, each name once; ours, real and copy are taken."
            )
        named[name] = user_path("compare", text)
    if named and main is None:
        raise ConfigError("compare= sets other generators beside the one of checkpoint=; give that one too.")
    return named


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in scores.items() if np.isfinite(value)}


def _write_films(found: StageScores, out: Path) -> list[dict[str, str]]:
    films = []
    for number, film in enumerate(found.films):
        name = f"films/{number:02d}.mp4"
        write_film(film, out / name)
        films.append({"file": name, "title": film.title, "panels": ", ".join(label for label, _ in film.panels)})
    return films


def _checkpoints(stage: Stage, checkpoint: Path | None, expert: Path | None) -> tuple[Path | None, Path | None]:
    """``(generator, expert)``."""
    if stage == "syncnet":
        if checkpoint and expert:
            raise ConfigError("With stage=syncnet the checkpoint is the expert: give checkpoint= or expert=, not both.")
        generator, judge = None, checkpoint or expert
    else:
        generator, judge = checkpoint, expert
    if generator is None and judge is None:
        raise ConfigError(f"stage={stage} has nothing to score. Give checkpoint=<run_dir>/checkpoints/last.ckpt.")
    return generator, judge


def _judge_clips(kit: Kit, bench: Bench, clips: list[ClipEntry], workers: int) -> ExpertScores:
    expert = bench.judges.expert
    if expert is None:
        return ExpertScores()
    embedded = list(do_all(_embed, clips, kit, bench, workers, "listen and look", "clips"))
    judged = score_expert(embedded, float(expert.log_scale.detach().exp()))
    if "shift_curve" in judged.details:
        judged.scores["expert/confidence"] = ShiftCurve.confidence(torch.tensor(judged.details["shift_curve"]))
    return judged


def _embed(bench: Bench, entry: ClipEntry) -> ClipEmbedding:
    expert = bench.judges.expert
    assert expert is not None
    clip = bench.shelf.read(entry)
    face_TD, speech_TD = embed_clip(expert, clip.faces_TSSC, clip.mel_SM)
    return ClipEmbedding(entry.speaker, face_TD, speech_TD, expert.window_frames)
