"""`anchor evaluate`: has this stage learnt? Scores for machines, a report for people."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from anchor.batch import ClipEntry, ClipSource
from anchor.device import resolve_device
from anchor.errors import CheckpointError, ConfigError
from anchor.evaluation.clips import ClipShelf, choose_clips, pair_up
from anchor.evaluation.curves import read_runs
from anchor.evaluation.gates import note_gates
from anchor.evaluation.mouths import Strip, measure_speed, score_pair, sum_up
from anchor.evaluation.opening import teach_reader
from anchor.evaluation.report import render_report
from anchor.evaluation.sync import ClipEmbedding, ExpertScores, embed_clip, score_expert
from anchor.evaluation.table import rows_of
from anchor.inference import ReferenceKind, show_progress
from anchor.models import LipGenerator, SyncNet, WeightKind, load_network
from anchor.timing import FPS

__all__ = ["evaluate", "evaluate_source"]

Stage = Literal["syncnet", "generator", "finetune", "quality"]
FORMAT_VERSION = 1


def evaluate(
    *,
    data: str,
    out: Path,
    stage: Stage = "generator",
    checkpoint: Path | None = None,
    expert: Path | None = None,
    runs: tuple[Path, ...] = (),
    split: str = "val",
    max_clips: int = 48,
    max_seconds: float = 20.0,
    reference: ReferenceKind = "nearest",
    reader_steps: int = 400,
    strips: int = 4,
    batch_size: int = 16,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    seed: int = 0,
    weights: WeightKind = "auto",
) -> None:
    """Score a stage on held-out clips: out/scores.json and out/report.html, which needs no network.

    data: shards, a folder or an address. stage: with syncnet the checkpoint is the expert, otherwise the generator.
    expert: beside a generator, scored itself and asked about the dubbed faces.
    weights: of both: ema (averaged), raw, or auto: averaged where a checkpoint has them.
    runs: run folders whose curves the report draws.
    max_seconds: of each clip that are looked at. reader_steps: how long the reader of mouth openings learns, where
    the training clips know their openings; 0 leaves it out. strips: clips that are shown as pictures.
    """
    from anchor.shards import ShardSet

    record = evaluate_source(
        ShardSet(data),
        data=str(data),
        out=Path(out),
        stage=stage,
        checkpoint=checkpoint,
        expert=expert,
        runs=runs,
        split=split,
        max_clips=max_clips,
        max_seconds=max_seconds,
        reference=reference,
        reader_steps=reader_steps,
        strips=strips,
        batch_size=batch_size,
        device=device,
        seed=seed,
        weights=weights,
    )
    print(_text_table(record["scores"]))
    print(f"{Path(out) / 'report.html'}  {Path(out) / 'scores.json'}")


def evaluate_source(
    source: ClipSource,
    *,
    out: Path,
    data: str = "",
    stage: Stage = "generator",
    checkpoint: Path | None = None,
    expert: Path | None = None,
    runs: tuple[Path, ...] = (),
    split: str = "val",
    max_clips: int = 48,
    max_seconds: float = 20.0,
    reference: ReferenceKind = "nearest",
    reader_steps: int = 400,
    strips: int = 4,
    batch_size: int = 16,
    device: str = "auto",
    seed: int = 0,
    weights: WeightKind = "auto",
) -> dict[str, Any]:
    """:func:`evaluate` for any source of clips; returns what it wrote to scores.json.

    Raises:
        ConfigError: neither a generator nor an expert is given, a number makes no sense, or a run has no record.
        CheckpointError: a checkpoint is missing or of another kind.
        ShardError: the split has no clip that can be scored.
    """
    started = time.monotonic()
    generator_path, expert_path = _checkpoints(stage, checkpoint, expert)
    if max_clips < 1 or max_seconds < 1 or batch_size < 1:
        raise ConfigError(
            f"max_clips={max_clips}, max_seconds={max_seconds:g}, batch_size={batch_size}: each must be 1 or more."
        )
    where = resolve_device(device)
    judge = cast(SyncNet, _load(expert_path, "expert", where, weights)) if expert_path else None
    generator = cast(LipGenerator, _load(generator_path, "generator", where, weights)) if generator_path else None
    curves = read_runs(runs)
    clips = choose_clips(source, split, max_clips, seed)
    image_size = (generator or cast(SyncNet, judge)).image_size
    shelf = ClipShelf(source, image_size, round(max_seconds * FPS))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be a folder ({error}). Give another.") from None
    scores: dict[str, float] = {}
    details: dict[str, Any] = {}
    notes: list[str] = []
    pictures: list[Strip] = []
    if judge is not None:
        judged = _judge_clips(judge, shelf, clips)
        scores |= judged.scores
        details |= judged.details
    if generator is not None:
        reader = teach_reader(source, reader_steps, seed, where)
        pairs = pair_up(clips, round(max_seconds * FPS))
        results = [
            score_pair(
                generator,
                shelf,
                pair,
                reference=reference,
                expert=judge,
                reader=reader,
                batch_size=batch_size,
                with_strip=i < strips,
            )
            for i, pair in enumerate(show_progress(pairs, len(pairs), "draw and measure", "pairs"))
        ]
        summary, details["pairs"] = sum_up(results)
        scores |= summary | measure_speed(generator, image_size, batch_size)
        pictures = [result.strip for result in results if result.strip is not None]
        notes += _notes(scores, {pair.kind for pair in pairs}, judge is not None, reference)
    forced = note_gates((generator_path, expert_path))
    record = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "checkpoint": str(generator_path or expert_path),
        "expert": str(expert_path) if expert_path else None,
        "data": data,
        "split": split,
        "seed": seed,
        "reference": reference,
        "device": device_name(where),
        "clips": [{"key": clip.key, "speaker": clip.speaker, "num_frames": clip.num_frames} for clip in clips],
        "scores": {name: round(value, 5) for name, value in scores.items() if np.isfinite(value)},
        "details": details,
        "forced": forced,
        "notes": [*forced, *notes],
        "seconds": round(time.monotonic() - started, 1),
    }
    _write(out / "scores.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    _write(out / "report.html", render_report(record, pictures, curves))
    return record


def device_name(device: torch.device) -> str:
    """What computes, in words: "cuda: NVIDIA H200", "cpu: AMD EPYC 9654, 2 threads"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "mlu":
        return f"mlu: {torch.mlu.get_device_name()}"  # type: ignore[attr-defined]
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"cpu: {model}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


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


def _load(path: Path, kind: str, device: torch.device, weights: WeightKind) -> torch.nn.Module:
    try:
        net = load_network(path, kind, weights)
    except CheckpointError as error:
        hint = " An expert is scored with stage=syncnet." if kind == "generator" and "expert" in str(error) else ""
        raise CheckpointError(f"{error}{hint}") from None
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _judge_clips(judge: SyncNet, shelf: ClipShelf, clips: list[ClipEntry]) -> ExpertScores:
    embedded = []
    for entry in show_progress(clips, len(clips), "listen and look", "clips"):
        clip = shelf.read(entry)
        embedded.append(ClipEmbedding(entry.speaker, *embed_clip(judge, clip.faces_TSSC, clip.mel_SM)))
    return score_expert(embedded, float(judge.log_scale.detach().exp()))


def _notes(scores: dict[str, float], kinds: set[str], has_judge: bool, reference: str) -> list[str]:
    notes = [
        f"The reference picture is reference={reference}; the same choice as `anchor infer reference={reference}`."
    ]
    if has_judge:
        notes.append(
            "The expert's opinion of dubbed faces is circular where it was the training loss: a generator learns to "
            "please it. Another expert, trained apart, is a fair judge. These scores are not LSE-D or LSE-C: those "
            "need the original network."
        )
    if "dub/opening_r" in scores:
        notes.append(
            "Openings are read by a small network taught on real training frames with known truth, never on drawn "
            "ones. Its own r on real held-out frames stands beside ours, and is the most that could be reached."
        )
    else:
        notes.append(
            "These clips do not know how far their mouths open, so only a coarse proxy speaks about the dubbed faces."
        )
    if kinds != {"other speaker"}:
        notes.append(
            f"Too few speakers for strangers everywhere: faces were dubbed with speech of {', '.join(sorted(kinds))}."
        )
    return notes


def _text_table(scores: dict[str, float]) -> str:
    lines = [f"  {'':<40}{'ours':>10}{'real':>10}{'compare':>10}"]
    for group, _, rows in rows_of(scores):
        lines.append(f"  {group}")
        lines += [f"    {row.label:<38}{ours:>10}{real:>10}{control:>10}" for row, ours, real, control in rows]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
