"""`anchor evaluate`: has this stage learnt? Scores for machines, a report for people."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from anchor.batch import ClipEntry, ClipSource
from anchor.device import resolve_device
from anchor.errors import CheckpointError, ConfigError
from anchor.evaluation.clips import ClipShelf, choose_clips
from anchor.evaluation.curves import read_runs
from anchor.evaluation.films import write_film
from anchor.evaluation.gates import note_gates
from anchor.evaluation.given import load_given
from anchor.evaluation.meters import ShiftCurve
from anchor.evaluation.mouths import Judges
from anchor.evaluation.notes import notes_of
from anchor.evaluation.opening import teach_reader
from anchor.evaluation.protocols import choose_protocols, look_at_split
from anchor.evaluation.report import Shown, render_report
from anchor.evaluation.stage import Asked, StageScores, score_generators
from anchor.evaluation.sync import ClipEmbedding, ExpertScores, embed_clip, score_expert
from anchor.evaluation.table import rows_of
from anchor.faces.landmarks import LandmarkName, make_landmarks
from anchor.inference import ReferenceKind, show_progress
from anchor.models import LipGenerator, SyncNet, WeightKind, load_network
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
        device=device,
        seed=seed,
        weights=weights,
    )
    print(_text_table(record["scores"], record["compared"]))
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
    if max_clips < 1 or max_seconds < 1 or batch_size < 1:
        raise ConfigError(
            f"max_clips={max_clips}, max_seconds={max_seconds:g}, batch_size={batch_size}: each must be 1 or more."
        )
    others = _named_paths(compare, generator_path)
    where = resolve_device(device)
    judge = cast(SyncNet, _load(expert_path, "expert", where, weights)) if expert_path else None
    paths = ({"ours": generator_path} if generator_path else {}) | others
    generators = {name: cast(LipGenerator, _load(path, "generator", where, weights)) for name, path in paths.items()}
    curves = read_runs(runs)
    clips = choose_clips(source, split, max_clips, seed)
    held_out = look_at_split(source, clips, split)
    protocols = choose_protocols(protocol, held_out) if generators else ()
    given = load_given(lpips, inception, syncnet_weights, where)
    marker = make_landmarks(landmarks)
    image_size = next(iter(generators.values()), cast(LipGenerator, judge)).image_size
    shelf = ClipShelf(source, image_size, round(max_seconds * FPS))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be a folder ({error}). Give another.") from None
    judged = _judge_clips(judge, shelf, clips) if judge is not None else ExpertScores()
    found = StageScores()
    if generators:
        reader = teach_reader(source, reader_steps, seed, where)
        asked = Asked(protocols, reference, batch_size, strips, films, held_out.seen)
        found = score_generators(generators, shelf, clips, Judges(judge, reader, given, marker), asked)
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
        "landmarks": marker.name,
        "device": device_name(where),
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
        "skipped": given.skipped if generators else {},
        "films": [],
        "forced": forced,
        "notes": [*forced, *held_out.notes()],
        "seconds": 0.0,
    }
    record["films"] = _write_films(found, out)
    if generators:
        record["notes"] += notes_of(record, judge is not None, found)
    record["seconds"] = round(time.monotonic() - started, 1)
    _write(out / "scores.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    shown = Shown(found.strips, [out / film["file"] for film in record["films"]], found.failures)
    _write(out / "report.html", render_report(record, shown, curves))
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
        named[name] = Path(text).expanduser()
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
        face_TD, speech_TD = embed_clip(judge, clip.faces_TSSC, clip.mel_SM)
        embedded.append(ClipEmbedding(entry.speaker, face_TD, speech_TD, judge.window_frames))
    judged = score_expert(embedded, float(judge.log_scale.detach().exp()))
    if "shift_curve" in judged.details:
        judged.scores["expert/confidence"] = ShiftCurve.confidence(torch.tensor(judged.details["shift_curve"]))
    return judged


def _text_table(scores: dict[str, float], compared: dict[str, Any]) -> str:
    head = "".join(f"{name:>10}" for name in ("ours", *compared, "real", "control"))
    lines = [f"  {'':<40}{head}"]
    for group, _, rows in rows_of(scores, {name: other["scores"] for name, other in compared.items()}):
        lines.append(f"  {group}")
        for line in rows:
            cells = (line.ours, *line.others, line.real, line.control)
            lines.append(f"    {line.row.label:<38}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
